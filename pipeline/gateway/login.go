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

// An Authorizer knows who may open sessions on which app. It is called from many goroutines.
type Authorizer interface {
	// Authorize says whose key or certificate it is, and what that person may do with the app, or why
	// it opens nothing: the reason is for the log, and the client is told no more than that it failed.
	//
	// It is asked before the client has proved that it holds the key, so a grant opens nothing yet. It
	// should take about as long for every answer.
	Authorize(login Login) (Grant, error)
	// Admit is asked for each session of a login, since a connection can open sessions long after it:
	// whether the login is still good, and the token, which is what the client sent as ACCESS_TOKEN,
	// or "". The token is good for this call alone. A *session.Refusal is shown to the person.
	Admit(ctx context.Context, login Login, token string) (Grant, error)
	// Apps are the names of all apps, of which a person is told those that Admit lets in.
	Apps() []string
}

// NoApp is the user name that opens no app and tells people which ones they may open. It is no
// app's name.
const NoApp = "?"

// authorize is the Authorizer's answer to a login. With NoApp, which opens nothing but the list of
// apps, it is that to the first app that the key or certificate opens: whoever opens none learns
// what a stranger learns.
func (g *Gateway) authorize(login Login) (grant Grant, err error) {
	if login.App != NoApp {
		return g.options.Authorizer.Authorize(login)
	}
	err = errDenied
	for _, app := range g.options.Authorizer.Apps() { // all of them: it takes about as long for everybody
		login.App = app
		if found, refused := g.options.Authorizer.Authorize(login); err != nil && refused == nil {
			grant, err = found, nil
		}
	}
	return grant, err
}

// A Login is what a client proves: it holds the key, of a public key or of a certificate, and asks
// for the app.
type Login struct {
	App    string
	Key    ssh.PublicKey
	Remote net.Addr
}

// A Grant is what somebody may do.
type Grant struct {
	User schema.User
	// ForceCommand is run in the place of what is asked for, which is then in SSH_ORIGINAL_COMMAND;
	// nil for no such thing.
	ForceCommand *string
	// NoTerminal: sessions have none.
	NoTerminal bool
	// FileTransfer: files may be transferred by SFTP, which is recorded.
	FileTransfer bool
}

// An identity is what a login proves.
type identity struct {
	Login
	grant       Grant
	fingerprint string // of the key; of a certificate, that of its key
}

// identityKey is where Permissions.ExtraData has the identity.
type identityKey struct{}

// errDenied is the one answer to every login that is refused. The client sees only that it failed.
var errDenied = errors.New("no such app, no such key, or the key may not use the app")

// An attempt is what is known of a login that is under way, for the log. It belongs to the
// goroutine that does the handshake.
type attempt struct {
	app      string
	deadline time.Time // the end of the login grace time
	refused  []string  // fingerprints; bounded by MaxAuthTries
	tried    bool      // a key was offered, or another way to log in was tried
	user     string    // the ID of the user who signed, or ""
	entered  string    // the ID of the user for whom the connection is counted, or ""
	full     bool      // that user has as many connections as there may be
}

// login is the connection's configuration of the handshake: the gateway's, and callbacks that tell
// the attempt what happens.
//
// A client may ask about many keys and sign with another, so nothing that a callback sees is who
// the person is: the identity travels in the Permissions, of which the finished handshake has those
// of the key that signed, for the user name that the signature is over.
func (c *connection) login(a *attempt) *ssh.ServerConfig {
	config := c.gateway.config
	config.MaxAuthTries = c.gateway.limits().MaxAuthTries
	config.AuthLogCallback = func(meta ssh.ConnMetadata, method string, err error) {
		if err == nil { // the client gets the answer after this has returned
			c.heard.hold()
		}
		a.app = meta.User()
		a.tried = a.tried || method != "none" // by which clients ask what they may try
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

// enter counts the connection for the user of the key that signed. Where the user has as many
// connections as there may be, the login fails, and the client shows why.
func (c *connection) enter(a *attempt, permissions *ssh.Permissions) error {
	who, _ := permissions.ExtraData[identityKey{}].(identity)
	if a.entered != "" { // a login before it was refused after all
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

// fingerprint is that of a key, or of the key of a certificate.
func fingerprint(key ssh.PublicKey) string {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	return ssh.FingerprintSHA256(key)
}

// cut bounds a text that anybody can choose, for the log.
func cut(text string) string {
	const most = 200
	return text[:min(len(text), most)]
}

// whoSigned is the identity that the finished handshake has proved.
func whoSigned(conn *ssh.ServerConn) (identity, bool) {
	if conn.Permissions == nil {
		return identity{}, false
	}
	who, ok := conn.Permissions.ExtraData[identityKey{}].(identity)
	return who, ok && who.App == conn.User()
}
