# SPDX-License-Identifier: Apache-2.0
"""The application layer: servers and clients of the well-known services (RFC 1123).

All of it is asyncio code that runs on any event loop: capas's own, in virtual or real time, or
the standard one.  Libraries do the protocols where well-kept ones exist (uvicorn and starlette,
aiosmtpd, dnspython: the extra ``capas[tools]``); the modules import them, so import a module when
you need it.
"""
