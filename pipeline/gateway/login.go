package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

// Authorizer decides who may open sessions on which app. It must be safe for concurrent use.
type Authorizer interface {
	// Authorize returns the owner of a key or certificate and the permissions for the app, or the
	// reason for a refusal. The reason is for the log; the client only learns that the login
	// failed.
	//
	// It is called before the client has proved that it holds the key, so a grant alone permits
	// nothing. It should take about the same time for every answer.
	Authorize(login Login) (Grant, error)
	// Admit is called for each session of a login, because a connection can open sessions long
	// after the login. It checks whether the login is still valid, and the token that the client
	// sent as ACCESS_TOKEN, or "". The token may only be used for this call. A *session.Refusal is
	// shown to the user.
	Admit(ctx context.Context, login Login, token string) (Grant, error)
	// Apps returns the names of all apps; a user only sees those that Admit permits.
	Apps() []string
}

// NoApp is the user name that opens no app and lists the apps of the user. No app has this name.
const NoApp = "?"

// authorize returns the Authorizer's answer to a login. For NoApp, which only permits listing apps,
// it is the answer for the first app that the key or certificate may open: a user who may open none
// gets the same answer as a stranger.
func (g *Gateway) authorize(login Login) (grant Grant, err error) {
	if login.App != NoApp {
		return g.options.Authorizer.Authorize(login)
	}
	err = errDenied
	for _, app := range g.options.Authorizer.Apps() { // all of them, to take about the same time for everyone
		login.App = app
		if found, refused := g.options.Authorizer.Authorize(login); err != nil && refused == nil {
			grant, err = found, nil
		}
	}
	return grant, err
}

// Login is a client's proven key or certificate, and the app that it requests.
type Login struct {
	App    string
	Key    ssh.PublicKey
	Remote net.Addr
}

// Grant describes what a user may do.
type Grant struct {
	User schema.User
	// ForceCommand is run instead of the requested command, which is then in SSH_ORIGINAL_COMMAND;
	// nil for none.
	ForceCommand *string
	// NoTerminal: sessions may not have a terminal.
	NoTerminal bool
	// Token: the session presented an access token that was accepted.
	Token bool
	// FileTransfer: files may be transferred by SFTP, which is recorded.
	FileTransfer bool
}

// identity is the result of a successful login.
type identity struct {
	Login
	grant       Grant
	fingerprint string // of the key; for a certificate, of its key
}

// identityKey is the key of the identity in Permissions.ExtraData.
type identityKey struct{}

// errDenied is the single answer to every refused login. The client only sees that the login
// failed.
var errDenied = errors.New("no such app, no such key, or the key may not use the app")

// attempt collects information on a login in progress, for the log. It belongs to the goroutine of
// the handshake.
type attempt struct {
	app      string
	deadline time.Time // the end of the login grace time
	refused  []string  // fingerprints; limited by MaxAuthTries
	tried    bool      // a key was offered, or another method was tried
	user     string    // the ID of the user who signed, or ""
	entered  string    // the ID of the user whose connection count includes this one, or ""
	full     bool      // that user has reached the limit of connections
}

// login returns the handshake configuration for the connection: the gateway's, with callbacks that
// update the attempt.
//
// A client may offer many keys and sign with another, so the arguments of a single callback do not
// identify the user: the identity travels in the Permissions, and the finished handshake has those
// of the key that signed, for the user name that the signature covers.
func (c *connection) login(a *attempt) *ssh.ServerConfig {
	config := c.gateway.config
	config.MaxAuthTries = c.gateway.limits().MaxAuthTries
	config.AuthLogCallback = func(meta ssh.ConnMetadata, method string, err error) {
		if err == nil { // the client is answered after this returns
			c.heard.hold()
		}
		a.app = meta.User()
		a.tried = a.tried || method != "none" // clients use "none" to ask for the available methods
	}
	config.VerifiedPublicKeyCallback = func(_ ssh.ConnMetadata, _ ssh.PublicKey, permissions *ssh.Permissions, _ string) (*ssh.Permissions, error) {
		return permissions, c.enter(a, permissions)
	}
	config.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		a.tried = true
		who := identity{Login: Login{App: meta.User(), Key: key, Remote: meta.RemoteAddr()}, fingerprint: fingerprint(key)}
		grant, err := c.gateway.authorize(who.Login)
		if err != nil {
			a.refused = append(a.refused, who.fingerprint)
			if cert, ok := key.(*ssh.Certificate); ok {
				c.gateway.refusals.report(c.log, slog.LevelWarn, loggedLogins, refusalKind{c.source, "certificate refused", cut(err.Error())},
					"app", cut(who.App), "key", who.fingerprint, "key_id", cut(cert.KeyId), "serial", cert.Serial)
			}
			return nil, errDenied
		}
		who.grant = grant
		return &ssh.Permissions{ExtraData: map[any]any{identityKey{}: who}}, nil
	}
	return &config
}

// enter counts the connection for the user of the key that signed. If the user has reached the
// limit, the login fails, and the client shows the reason.
func (c *connection) enter(a *attempt, permissions *ssh.Permissions) error {
	who, _ := permissions.ExtraData[identityKey{}].(identity)
	if a.entered != "" { // an earlier login was refused after all
		c.gateway.admission.exit(a.entered)
		a.entered = ""
	}
	a.user = who.grant.User.ID
	if err := c.gateway.admission.enter(a.user); err != nil {
		a.full = true
		return &ssh.BannerError{Err: err, Message: "ttydrain: " + err.Error() + "\r\n"}
	}
	a.entered = a.user
	return nil
}

// fingerprint returns the fingerprint of a key, or of the key of a certificate.
func fingerprint(key ssh.PublicKey) string {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	return ssh.FingerprintSHA256(key)
}

// cut limits the length of untrusted text for the log.
func cut(text string) string {
	const limit = 200
	return text[:min(len(text), limit)]
}

// whoSigned returns the identity that the finished handshake has proved.
func whoSigned(conn *ssh.ServerConn) (identity, bool) {
	if conn.Permissions == nil {
		return identity{}, false
	}
	who, ok := conn.Permissions.ExtraData[identityKey{}].(identity)
	return who, ok && who.App == conn.User()
}
