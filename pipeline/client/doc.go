// Package client opens sessions on an SSH gateway, for users at a terminal and for programs.
//
// [Dial] connects and authenticates; [Client.Run] runs a session on the connection, and
// [Client.Apps] lists the apps that the user may open. For interactive use, [KnownHosts] verifies
// the gateway's key against an OpenSSH known_hosts file, [LoadIdentities] loads the user's keys, a
// [Console] asks the user questions, [ConfirmHost] asks about an unknown host, and [Local] runs a
// session on the streams of this process, which may be a terminal.
//
// A connection carries sessions only: port, X11 and agent forwarding are not supported, and
// channels that the server tries to open are rejected.
package client
