package gateway

import (
	"errors"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

// An identity is what a login proves.
type identity struct {
	app         string
	user        schema.User
	key         ssh.PublicKey
	fingerprint string
}

// identityKey is where Permissions.ExtraData has the identity.
type identityKey struct{}

// errDenied is the one answer to every login that is refused. The client sees only that it failed.
var errDenied = errors.New("no such app, no such key, or the key may not use the app")

// An attempt is what is known of a login that is under way, for the log. It belongs to the
// goroutine that does the handshake.
type attempt struct {
	app     string
	refused []string // fingerprints; bounded by MaxAuthTries
}

// login is the connection's configuration of the handshake: the gateway's, and callbacks that tell
// the attempt what happens.
//
// A client may ask about many keys and sign with another, so nothing that a callback sees is who
// the person is: the identity travels in the Permissions, of which the finished handshake has those
// of the key that signed, for the user name that the signature is over.
func (c *connection) login(a *attempt) *ssh.ServerConfig {
	config := c.gateway.config
	config.PreAuthConnCallback = func(ssh.ServerPreAuthConn) {
		// A person may have to type a passphrase or touch a token now.
		c.net.SetDeadline(time.Now().Add(c.gateway.options.LoginTimeout))
	}
	config.AuthLogCallback = func(meta ssh.ConnMetadata, _ string, _ error) {
		a.app = meta.User()
	}
	config.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		who := identity{app: meta.User(), key: key, fingerprint: ssh.FingerprintSHA256(key)}
		// A certificate proves nothing before its authority, principals, times and critical options
		// have been checked, so it counts as an unknown key. Checking them belongs here.
		_, certificate := key.(*ssh.Certificate)
		user, ok := c.gateway.options.Authorizer.Authorize(who.app, key)
		if !ok || certificate {
			a.refused = append(a.refused, who.fingerprint)
			return nil, errDenied
		}
		who.user = user
		return &ssh.Permissions{ExtraData: map[any]any{identityKey{}: who}}, nil
	}
	return &config
}

// whoSigned is the identity that the finished handshake has proved.
func whoSigned(conn *ssh.ServerConn) (identity, bool) {
	if conn.Permissions == nil {
		return identity{}, false
	}
	who, ok := conn.Permissions.ExtraData[identityKey{}].(identity)
	return who, ok && who.app == conn.User()
}
