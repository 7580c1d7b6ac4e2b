// Package client opens sessions on an SSH gateway, for users at a terminal and for programs.
//
// [Dial] connects and authenticates; [Client.Run] runs a session on the connection. For interactive
// use, [KnownHosts] verifies the gateway's key against an OpenSSH known_hosts file,
// [LoadIdentities] loads the user's keys, a [Console] asks the user questions, and [MakeRaw] and
// [LocalTerminal] connect a local terminal to the session.
//
// A connection carries sessions only: port, X11 and agent forwarding are not supported, and
// channels that the server tries to open are rejected.
package client
