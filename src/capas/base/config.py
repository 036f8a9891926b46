# SPDX-License-Identifier: Apache-2.0
"""The settings of one host, as plain data; defaults are Linux 6.x's unless said.

A `Host` takes a copy, and all its layers share that copy, so a setting changed at run time (see
`capas.host.sysctl` for the names people know) is seen everywhere at once.  Everything an outsider
can make grow has its cap here (convention 20).
"""

from dataclasses import dataclass

from capas.base.clock import MS, SECOND


@dataclass(slots=True)
class HostConfig:
    """Settings of one host.  Times in ns, sizes in bytes, unless the comment says otherwise."""

    # -- memory ---------------------------------------------------------------------------------
    memory_limit: int = 1 << 30  # frame bytes held in all queues of the host together

    # -- network access -------------------------------------------------------------------------
    neighbor_entries: int = 1024  # entries per interface and family (Linux gc_thresh3)
    neighbor_queue: int = 101  # packets waiting for one address, Linux unres_qlen_bytes/packet
    neighbor_retrans: int = SECOND  # RetransTimer, RFC 4861 §10
    neighbor_reachable: int = 30 * SECOND  # ReachableTime
    neighbor_delay: int = 5 * SECOND  # DELAY_FIRST_PROBE_TIME
    neighbor_multicast_probes: int = 3  # MAX_MULTICAST_SOLICIT
    neighbor_unicast_probes: int = 3  # MAX_UNICAST_SOLICIT
    interface_queue: int = 1000  # frames waiting for a busy link (Linux txqueuelen)
    arp_probes: int = 0  # RFC 5227 §1.1 says 3; 0: addresses are used at once, as Linux does
    arp_announcements: int = 1  # gratuitous requests for a new address (RFC 5227 §1.1: 2)

    # -- internet -------------------------------------------------------------------------------
    forwarding: bool = False
    default_ttl: int = 64  # RFC 1700; Linux ip_default_ttl
    hop_limit: int = 64
    send_redirects: bool = True
    accept_redirects: bool = True  # for hosts; routers ignore them (RFC 1812 §5.2.7.2)
    accept_source_route: bool = False  # RFC 7126 §4.3
    accept_ra: bool = True  # router advertisements; only while not forwarding
    dad_transmits: int = 1  # RFC 4862 §5.1 DupAddrDetectTransmits; 0: no DAD
    optimistic_dad: bool = False
    stable_secret: str = ""  # hexadecimal: IPv6 identifiers by RFC 7217; "": EUI-64 of the MAC
    use_tempaddr: int = 0  # RFC 8981 addresses: 0 none, 1 made, 2 made and preferred (Linux)
    temp_valid_lifetime: int = 172_800 * SECOND  # TEMP_VALID_LIFETIME, RFC 8981 §3.8; Linux 7 days
    temp_preferred_lifetime: int = 86_400 * SECOND  # TEMP_PREFERRED_LIFETIME
    temp_max_desync: int = 34_560 * SECOND  # MAX_DESYNC_FACTOR, 0.4 of that; Linux 600 s
    temp_idgen_retries: int = 3  # TEMP_IDGEN_RETRIES, Linux regen_max_retry
    reassembly_bytes: int = 4 << 20  # Linux ipfrag_high_thresh
    reassembly_flows: int = 1024  # datagrams under reassembly
    reassembly_fragments: int = 1024  # fragments of one datagram
    reassembly_timeout: int = 30 * SECOND  # Linux ipfrag_time; RFC 8200 §4.5 says 60 s
    icmp_rate: int = 1000  # errors per second, Linux icmp_msgs_per_sec
    icmp_burst: int = 50  # Linux icmp_msgs_burst
    path_mtu_entries: int = 4096
    path_mtu_timeout: int = 600 * SECOND  # Linux mtu_expires
    min_pmtu: int = 552  # IPv4, Linux min_pmtu; IPv6 has 1280 by RFC 8200
    extension_headers: int = 8  # headers in one chain before it is dropped
    option_limit: int = 8  # options in one hop-by-hop or destination header (RFC 8504 §5.3)
    multicast_groups: int = 1024  # by interface, and by socket over IPv6
    multicast_memberships: int = 20  # IPv4 groups of one socket, Linux igmp_max_memberships
    multicast_sources: int = 10  # in the filter of one IPv4 membership, Linux igmp_max_msf
    multicast_sources6: int = 64  # likewise over IPv6, Linux mld_max_msf
    multicast_asked: int = 64  # sources of one group that queriers ask for at a time
    igmp_qrv: int = 2  # Robustness Variable while no querier says one, RFC 3376 §8.1
    mld_qrv: int = 2  # RFC 3810 §9.1
    force_igmp_version: int = 0  # 1, 2, 3; 0: as queriers ask (RFC 3376 §7.2.1)
    force_mld_version: int = 0  # 1, 2; 0: as queriers ask (RFC 3810 §8.2.1)
    autoconfigured_addresses: int = 16  # per interface, temporary ones too; Linux max_addresses
    default_routers: int = 16  # per interface
    redirect_routes: int = 1024
    forwarding_flows: int = 4096  # headers remembered per interface of a router

    # -- UDP ------------------------------------------------------------------------------------
    udp_receive_buffer: int = 212_992  # Linux rmem_default
    udp_send_buffer: int = 212_992
    udp_zero_checksum6: bool = False  # RFC 6936: accept zero checksums over IPv6

    # -- ports ----------------------------------------------------------------------------------
    port_low: int = 32_768  # Linux ip_local_port_range
    port_high: int = 60_999

    # -- TCP ------------------------------------------------------------------------------------
    tcp_fast_path: bool = True  # header prediction; False only to prove that it changes nothing
    tcp_congestion: str = "cubic"
    tcp_initial_window: int = 10  # segments, RFC 6928
    tcp_window_scaling: bool = True
    tcp_timestamps: bool = True
    tcp_sack: bool = True
    tcp_ecn: int = 2  # 0 off, 1 ask and accept, 2 accept only
    tcp_receive_buffer: int = 131_072  # Linux tcp_rmem[1]
    tcp_receive_buffer_max: int = 6_291_456  # tcp_rmem[2]
    tcp_send_buffer: int = 262_144  # user data; Linux tcp_wmem[1] is 16384 of skb truesize
    tcp_send_buffer_max: int = 4_194_304  # tcp_wmem[2]
    tcp_mss_default: int = 0  # 0: from the route's MTU
    tcp_rto_min: int = 200 * MS  # Linux TCP_RTO_MIN; RFC 6298 §2.4 says 1 s
    tcp_rto_max: int = 120 * SECOND
    tcp_rto_initial: int = SECOND  # RFC 6298 §2.1
    tcp_delayed_ack: int = 40 * MS  # Linux TCP_DELACK_MIN; RFC 1122 §4.2.3.2 allows 500 ms
    tcp_syn_retries: int = 6
    tcp_synack_retries: int = 5
    tcp_retries2: int = 15  # R2 in retransmissions, RFC 9293 §3.8.3
    tcp_orphan_retries: int = 8
    tcp_user_timeout: int = 0  # 0: by tcp_retries2
    tcp_fin_timeout: int = 60 * SECOND  # FIN-WAIT-2 of a closed socket
    tcp_time_wait: int = 60 * SECOND  # Linux TCP_TIMEWAIT_LEN (2 MSL)
    tcp_time_wait_limit: int = 65_536  # connections in TIME-WAIT
    tcp_keepalive_time: int = 7200 * SECOND
    tcp_keepalive_interval: int = 75 * SECOND
    tcp_keepalive_probes: int = 9
    tcp_max_syn_backlog: int = 1024  # half-open connections per listener
    tcp_somaxconn: int = 4096  # largest accept queue
    tcp_syncookies: int = 1  # 0 never, 1 when the queue is full, 2 always
    tcp_challenge_ack_limit: int = 1000  # per second and host, RFC 5961 §7
    tcp_invalid_ratelimit: int = 500 * MS  # one ACK per connection for out-of-window segments
    tcp_connections: int = 1 << 20
    tcp_out_of_order_ranges: int = 4096  # ranges held by one connection
    tcp_reordering: int = 3  # DupThresh
    tcp_rfc1337: bool = True
    tcp_rack: bool = True  # loss detection by RFC 8985; False: by RFC 6675 §4 alone
    tcp_tlp: bool = True  # tail loss probe, RFC 8985 §7
    tcp_mtu_probing: int = 1  # RFC 4821: 0 off, 1 once a black hole is suspected, 2 always (Linux)
    tcp_base_mss: int = 1024  # the MSS such a search begins with, Linux tcp_base_mss
    tcp_retries1: int = 3  # timeouts before the path is suspected, RFC 9293 §3.8.3 R1
    tcp_slow_start_after_idle: bool = True  # RFC 5681 §4.1
    tcp_fastopen: int = 1  # 1 client, 2 server, 3 both (Linux bits)
    tcp_abort_on_overflow: bool = False
    tcp_option_order: str = "linux"  # order of SYN options: "linux" or "freebsd"
    # -- TCP manners that tell one stack from another (capas.host.profiles) -----------------------
    tcp_manners: str = "linux"  # "linux" or "freebsd": what no single setting below says
    tcp_hystart: str = "rfc9406"  # CUBIC's way out of slow start: "rfc9406", "linux", "off"
    tcp_rto_whole_floor: bool = False  # rto_min under the whole RTO instead of its variance term
    tcp_rto_slop: int = 0  # ns added to every timeout but the first
    tcp_round_receive_buffer: bool = False  # round it up to whole segments after the handshake
    tcp_dsack: bool = True  # send D-SACK blocks, RFC 2883
    tcp_frto: bool = True  # F-RTO, RFC 5682
    tcp_insecure_rst: bool = False  # any RST in the window kills (RFC 793 instead of RFC 5961)
    tcp_insecure_syn: bool = False  # any SYN in the window kills
    tcp_drop_synfin: bool = False  # ignore SYN+FIN
    tcp_blackhole: int = 0  # closed ports: 0 reset, 1 silent to SYN, 2 silent
    tcp_icmp_may_reset: bool = True  # hard ICMP errors end a connection in SYN-SENT
    tcp_connect_timeout: int = 0  # ns for the whole handshake, 0: by tcp_syn_retries
    tcp_notsent_lowat: int = 0xFFFFFFFF  # default of TCP_NOTSENT_LOWAT, bytes
    tcp_min_tso_segs: int = 2  # segments of the smallest super-frame worth waiting for
    tcp_tso_autosize: bool = False  # size super-frames by rate and window (Linux tcp_tso_autosize)
    tcp_advmss: int = 0  # MSS option to announce, 0: from the route's MTU
    tcp_fastopen_key: str = ""  # hexadecimal, groups joined by "-"; "": random
    tcp_ecn_retries: int = 0  # SYNs with ECN flags before falling back (RFC 3168 §6.1.1.1)
    tcp_default_mss: int = 536  # without an MSS option, RFC 9293 §3.7.1
    tcp_default_mss6: int = 1220
