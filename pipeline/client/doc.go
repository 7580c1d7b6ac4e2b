// Package client opens sessions on an SSH gateway, for people at a terminal and for programs.
//
// [Dial] connects and logs in, [Client.Run] runs one session on the connection. Around them is what
// a person needs: [KnownHosts] checks the gateway's key against an OpenSSH known_hosts file,
// [LoadIdentities] finds the person's keys, a [Console] asks what only the person knows, and
// [MakeRaw] and [LocalTerminal] hand a local terminal to the session.
//
// A session is all that a connection ever carries: port, X11 and agent forwarding are not offered,
// and what the server tries to open is rejected.
package client
