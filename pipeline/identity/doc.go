// Package identity verifies who a user is, from an SSH certificate that a user CA has signed, or
// from an access token.
//
//	certificate ─► CheckCertificate ─► Person     the CA's keys, [Revocations]
//	token       ─► Tokens.Verify    ─► Claims     [KeySet], or [RemoteKeys] from a URL
//
// It is independent of connections and sessions: its functions depend only on the credential and
// the time. The SSH handshake verifies that the holder owns the certificate's key; this package
// does not.
//
// Errors about a certificate are written for the operators' log. Errors about a token contain
// nothing of it, and may be shown to its sender.
package identity
