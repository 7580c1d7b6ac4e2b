// Package gateway is the SSH server that people connect to.
//
// The SSH user name is the app, and the key that signs the login, by itself or by its certificate,
// is the person: an [Authorizer] knows whose it is, and is asked again for each session. A token
// that the client sends as ACCESS_TOKEN goes to it and nowhere else. A "session" channel (RFC 4254
// §6) becomes one call of [Sessions]; everything else that SSH can carry (port, agent and X11
// forwarding, subsystems such as sftp) would pass by the record, so it is refused with a sentence
// that the person sees.
//
//	listener ─► connection ─► channel ─► Sessions.Run
//	 accept      handshake,    requests     the program
//	 bounds      login,        of one
//	             opens         session
//
// Each arrow starts one goroutine, and each waits for those it started. What stops them:
//
//   - The client closes a channel, or its connection breaks: the context of each session concerned is
//     cancelled with [session.ErrDisconnected].
//   - The context given to Serve is done: no new connections, and no new sessions on the old ones; the
//     contexts of all sessions are cancelled with [session.ErrShutdown]; a connection is closed when
//     the client has confirmed the end of its last session. What has not ended by then is cut
//     after Options.StopTimeout.
//   - The session ends by itself: exit status, end of file, close.
//
// The user name [NoApp] opens no app: a session of it tells the person which apps they may open.
// Whoever may open none is refused like a stranger.
//
// [Limits] bound what a source may hold before its login, and a user after it; an admission decides
// by them when a connection begins, when a user has signed, and when a session is opened. Where it
// refuses, a refusalLog keeps the log short.
//
// Channel opens and global requests are handled in the order in which the client sent them: see
// inWireOrder.
//
// A client that vanishes without a word is noticed when it was silent for the keepalive deadline:
// its connection is then cut, as if it had broken.
//
// What is not guaranteed: that the client has shown what was sent; any order between standard
// output and standard error; that a session ends when its certificate or token expires: no new one
// begins.
//
// Nothing of what a session reads or writes is logged or kept here, nor command lines, nor
// environment. Of keys, only the SHA-256 fingerprint is; of certificates, the key ID and the serial
// number too.
package gateway
