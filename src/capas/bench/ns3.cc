// SPDX-License-Identifier: Apache-2.0
// The scenarios of `capas bench sim`, as ns-3 has them: ns3.py compiles this by cppyy.
// Checksums are off and nothing is captured, as ns-3 comes.
#include <chrono>
#include <vector>

#include "ns3/applications-module.h"
#include "ns3/core-module.h"
#include "ns3/internet-module.h"
#include "ns3/network-module.h"
#include "ns3/point-to-point-module.h"
#include "ns3/traffic-control-module.h"

using namespace ns3;

namespace capas_bench {

using Clock = std::chrono::steady_clock;
const uint16_t kPort = 5001;

struct Result {
  double wall;     // s, of building and running
  double goodput;  // bit/s
};

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void Defaults() {
  Config::SetDefault("ns3::TcpL4Protocol::SocketType", TypeIdValue(TcpCubic::GetTypeId()));
  Config::SetDefault("ns3::TcpSocket::SegmentSize", UintegerValue(1460));
  Config::SetDefault("ns3::TcpSocket::InitialCwnd", UintegerValue(10));
  Config::SetDefault("ns3::TcpSocket::SndBufSize", UintegerValue(1 << 20));
  Config::SetDefault("ns3::TcpSocket::RcvBufSize", UintegerValue(1 << 20));
  Config::SetDefault("ns3::TcpSocketBase::Sack", BooleanValue(true));
}

// A cable; its queues are those of the devices, tail drop, `packets` long.
NetDeviceContainer Cable(Ptr<Node> a, Ptr<Node> b, const char* rate, const char* delay,
                         const char* packets = "1000p") {
  PointToPointHelper helper;
  helper.SetDeviceAttribute("DataRate", StringValue(rate));
  helper.SetChannelAttribute("Delay", StringValue(delay));
  helper.SetQueue("ns3::DropTailQueue", "MaxSize", StringValue(packets));
  return helper.Install(a, b);
}

Ipv4InterfaceContainer Address(NetDeviceContainer devices, uint32_t network) {
  Ipv4AddressHelper helper;
  helper.SetBase(Ipv4Address(network), "255.255.255.252");
  Ipv4InterfaceContainer found = helper.Assign(devices);
  TrafficControlHelper().Uninstall(devices);  // no queue but the device's
  return found;
}

uint32_t Ip(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

void Route(Ptr<Node> node, uint32_t network, const char* mask, Ipv4Address via) {
  Ipv4StaticRoutingHelper helper;
  Ptr<Ipv4> ipv4 = node->GetObject<Ipv4>();
  uint32_t interface = 0;
  for (uint32_t i = 1; i < ipv4->GetNInterfaces(); i++) {
    Ipv4InterfaceAddress own = ipv4->GetAddress(i, 0);
    if (own.GetLocal().CombineMask(own.GetMask()) == via.CombineMask(own.GetMask())) interface = i;
  }
  helper.GetStaticRouting(ipv4)->AddNetworkRouteTo(Ipv4Address(network), Ipv4Mask(mask), via,
                                                   interface);
}

Ptr<PacketSink> Bulk(Ptr<Node> from, Ptr<Node> to, Ipv4Address address, uint64_t limit) {
  BulkSendHelper sender("ns3::TcpSocketFactory", InetSocketAddress(address, kPort));
  sender.SetAttribute("MaxBytes", UintegerValue(limit));
  sender.SetAttribute("SendSize", UintegerValue(1 << 16));
  sender.Install(from).Start(Seconds(0));
  PacketSinkHelper sink("ns3::TcpSocketFactory",
                        InetSocketAddress(Ipv4Address::GetAny(), kPort));
  return DynamicCast<PacketSink>(sink.Install(to).Get(0));
}

Result S1(double seconds) {
  Clock::time_point start = Clock::now();
  Defaults();
  NodeContainer routers(2), left(10), right(10);
  InternetStackHelper stack;
  stack.Install(NodeContainer(routers, left, right));
  Address(Cable(routers.Get(0), routers.Get(1), "100Mbps", "20ms", "100p"), Ip(10, 0, 0, 0));
  std::vector<Ptr<PacketSink>> sinks;
  for (uint32_t i = 0; i < 10; i++) {
    Address(Cable(left.Get(i), routers.Get(0), "1Gbps", "1ms"), Ip(10, 1, i, 0));
    Ipv4InterfaceContainer far =
        Address(Cable(right.Get(i), routers.Get(1), "1Gbps", "1ms"), Ip(10, 2, i, 0));
    sinks.push_back(Bulk(left.Get(i), right.Get(i), far.GetAddress(0), 0));
  }
  Ipv4GlobalRoutingHelper::PopulateRoutingTables();
  Simulator::Stop(Seconds(seconds));
  Simulator::Run();
  double total = 0;
  for (auto& sink : sinks) total += sink->GetTotalRx();
  Simulator::Destroy();
  Ipv4AddressGenerator::Reset();  // it remembers the addresses of former worlds
  return {Since(start), total * 8 / seconds};
}

// S2 (`size` bytes without loss, `seconds` at most) and S4 (`loss` of the data).
Result Pair(const char* rate, const char* delay, uint64_t size, double seconds, double loss) {
  Clock::time_point start = Clock::now();
  Defaults();
  NodeContainer nodes(2);
  InternetStackHelper().Install(nodes);
  NetDeviceContainer devices = Cable(nodes.Get(0), nodes.Get(1), rate, delay);
  Ipv4InterfaceContainer found = Address(devices, Ip(10, 0, 0, 0));
  if (loss > 0) {
    Ptr<RateErrorModel> model = CreateObject<RateErrorModel>();
    model->SetAttribute("ErrorUnit", EnumValue(RateErrorModel::ERROR_UNIT_PACKET));
    model->SetAttribute("ErrorRate", DoubleValue(loss));
    devices.Get(1)->SetAttribute("ReceiveErrorModel", PointerValue(model));
  }
  Ptr<PacketSink> sink = Bulk(nodes.Get(0), nodes.Get(1), found.GetAddress(1), size);
  double last = 0;
  sink->TraceConnectWithoutContext(
      "Rx", Callback<void, Ptr<const Packet>, const ns3::Address&>(
                [&last](Ptr<const Packet>, const ns3::Address&) {
                  last = Simulator::Now().GetSeconds();
                }));
  Simulator::Stop(Seconds(seconds));
  Simulator::Run();
  double total = sink->GetTotalRx();
  Simulator::Destroy();
  Ipv4AddressGenerator::Reset();  // it remembers the addresses of former worlds
  return {Since(start), total * 8 / (size ? last : seconds)};
}

// -- S3: an exchange on a new connection every second ----------------------------------------------

const uint32_t kQuestion = 100, kAnswer = 10000;

// Answers kQuestion bytes with kAnswer bytes and closes.
struct Server {
  std::vector<Ptr<Socket>> open;

  explicit Server(Ptr<Node> node) {
    Ptr<Socket> listener = Socket::CreateSocket(node, TcpSocketFactory::GetTypeId());
    listener->Bind(InetSocketAddress(Ipv4Address::GetAny(), kPort));
    listener->Listen();
    listener->SetAcceptCallback(
        MakeNullCallback<bool, Ptr<Socket>, const ns3::Address&>(),
        Callback<void, Ptr<Socket>, const ns3::Address&>(
            [](Ptr<Socket> socket, const ns3::Address&) {
              socket->SetRecvCallback(Callback<void, Ptr<Socket>>([](Ptr<Socket> one) {
                uint32_t got = 0;
                while (Ptr<Packet> packet = one->Recv()) got += packet->GetSize();
                if (got >= kQuestion) {
                  one->Send(Create<Packet>(kAnswer));
                  one->Close();
                }
              }));
            }));
    open.push_back(listener);
  }
};

struct Client {
  Ptr<Node> node;
  Ipv4Address server;
  int left;
  uint64_t received = 0;
  Ptr<Socket> socket;

  void Ask() {
    if (left-- <= 0) return;
    socket = Socket::CreateSocket(node, TcpSocketFactory::GetTypeId());
    socket->SetConnectCallback(
        Callback<void, Ptr<Socket>>([](Ptr<Socket> one) { one->Send(Create<Packet>(kQuestion)); }),
        MakeNullCallback<void, Ptr<Socket>>());
    socket->SetRecvCallback(Callback<void, Ptr<Socket>>([this](Ptr<Socket> one) {
      while (Ptr<Packet> packet = one->Recv()) {
        if (packet->GetSize() == 0) break;
        received += packet->GetSize();
      }
    }));
    auto close = Callback<void, Ptr<Socket>>([](Ptr<Socket> one) { one->Close(); });
    socket->SetCloseCallbacks(close, close);
    socket->Connect(InetSocketAddress(server, kPort));
    Simulator::Schedule(Seconds(1), &Client::Ask, this);
  }
};

// A root, `middle` routers, `leaves` below each, `hosts` below each leaf; static routes.
void Tree(uint32_t middle, uint32_t leaves, uint32_t hosts, NodeContainer& every,
          std::vector<Ipv4Address>& addresses) {
  InternetStackHelper stack;
  Ipv4StaticRoutingHelper only;
  stack.SetRoutingHelper(only);
  stack.SetIpv6StackInstall(false);
  Ptr<Node> root = CreateObject<Node>();
  stack.Install(root);
  for (uint32_t m = 0; m < middle; m++) {
    Ptr<Node> mid = CreateObject<Node>();
    stack.Install(mid);
    auto up = Address(Cable(root, mid, "10Gbps", "1ms"), Ip(172, 31, m, 0));
    Route(mid, 0, "0.0.0.0", up.GetAddress(0));
    Route(root, Ip(10, m, 0, 0), "255.255.0.0", up.GetAddress(1));
    for (uint32_t n = 0; n < leaves; n++) {
      Ptr<Node> leaf = CreateObject<Node>();
      stack.Install(leaf);
      auto way = Address(Cable(mid, leaf, "1Gbps", "1ms"), Ip(172, 16 + m, n, 0));
      Route(leaf, 0, "0.0.0.0", way.GetAddress(0));
      Route(mid, Ip(10, m, n, 0), "255.255.255.0", way.GetAddress(1));
      for (uint32_t h = 0; h < hosts; h++) {
        Ptr<Node> host = CreateObject<Node>();
        stack.Install(host);
        auto last = Address(Cable(leaf, host, "100Mbps", "1ms"), Ip(10, m, n, h * 4));
        Route(host, 0, "0.0.0.0", last.GetAddress(0));
        every.Add(host);
        addresses.push_back(last.GetAddress(1));
      }
    }
  }
}

Result S3(int seconds, uint32_t middle, uint32_t leaves) {
  Clock::time_point start = Clock::now();
  Defaults();
  NodeContainer every;
  std::vector<Ipv4Address> addresses;
  Tree(middle, leaves, 10, every, addresses);
  uint32_t half = every.GetN() / 2;
  std::vector<Server> servers;
  std::vector<Client> clients;
  clients.reserve(half);
  for (uint32_t i = 0; i < half; i++) {
    servers.emplace_back(every.Get(i));
    clients.push_back({every.Get(half + i), addresses[i], seconds});
    Simulator::Schedule(Seconds(double(i) / half), &Client::Ask, &clients[i]);
  }
  Simulator::Stop(Seconds(seconds + 1));
  Simulator::Run();
  double total = 0;
  for (auto& client : clients) total += client.received;
  Simulator::Destroy();
  Ipv4AddressGenerator::Reset();  // it remembers the addresses of former worlds
  return {Since(start), total * 8 / (seconds + 1)};
}

// A world of `leaves` times 50 hosts, to weigh it; `goodput` is the number of hosts.
Result World(uint32_t leaves) {
  Clock::time_point start = Clock::now();
  NodeContainer every;
  std::vector<Ipv4Address> addresses;
  Tree(1, leaves, 50, every, addresses);
  return {Since(start), double(every.GetN())};
}

}  // namespace capas_bench
