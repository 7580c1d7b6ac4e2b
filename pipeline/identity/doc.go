// Package identity says who a person is, by what they bring: an SSH certificate that a user CA has
// signed, or an access token.
//
//	certificate ─► CheckCertificate ─► Person     the CA's keys, [Revocations]
//	token       ─► Tokens.Verify    ─► Claims     [KeySet], or [RemoteKeys] from a URL
//
// It knows nothing of connections and sessions: it takes what was brought, and the time, and
// answers. The holder's proof that a certificate's key is theirs is the SSH handshake's, and is not
// looked at here.
//
// The errors say what is wrong with a certificate in words for the operators' log. Those about a
// token have nothing of it in them, and may be shown to whoever sent it.
package identity
