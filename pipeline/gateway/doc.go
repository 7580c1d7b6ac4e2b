// Package gateway is the SSH server that users connect to.
//
// The SSH user name is the app, and the key that signs the login, directly or through its
// certificate, identifies the user: an [Authorizer] decides, and is asked again for each session.
// An access token that the client sends as ACCESS_TOKEN is only passed to the Authorizer. A
// "session" channel (RFC 4254 §6) becomes one call of [Sessions]; everything else that SSH can
// carry (port, agent and X11 forwarding, subsystems other than SFTP) would bypass the recording, so
// it is refused with a message to the user.
//
//	listener ─► connection ─► channel ─► Sessions.Run
//	 accept      handshake,    requests     the program
//	 limits      login,        of one
//	             opens         session
//
// Each arrow starts one goroutine, and each waits for those it started. They end as follows:
//
//   - The client closes a channel, or its connection breaks: the context of each affected session
//     is cancelled with [session.ErrDisconnected].
//   - The context of Serve is done: no new connections or sessions are accepted; the contexts of
//     all sessions are cancelled with [session.ErrShutdown]; a connection is closed when the client
//     has confirmed the end of its last session. Remaining connections are cut after
//     Options.StopTimeout.
//   - The session ends by itself: exit status, end of file, close.
//
// The user name [NoApp] opens no app: its sessions list the apps that the user may open. A user who
// may open none is refused like a stranger.
//
// [Limits] limit the connections of a source before the login, and of a user after it; an admission
// applies them when a connection starts, when a user has logged in, and when a session is opened. A
// refusalLog limits the logging of refusals.
//
// Channel opens and global requests are handled in the order in which the client sent them: see
// inWireOrder.
//
// A client that vanishes silently is noticed at the keepalive deadline: its connection is then cut,
// as if it had broken.
//
// Not guaranteed: that the client has displayed the output that was sent; any order between
// standard output and standard error; that a session ends when its certificate or token expires
// (but no new one starts).
//
// The package neither logs nor keeps what a session reads or writes, command lines, or
// environments. It logs the SHA-256 fingerprints of keys, and the key IDs and serial numbers of
// certificates.
package gateway
