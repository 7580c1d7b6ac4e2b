package bus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// connect starts the embedded server, if configured, and connects.
func (b *Bus) connect(ctx context.Context, o *Options) (err error) {
	b.refusals = newRefusals(o.Role.String())
	identity, err := o.identity()
	if err != nil {
		return err
	}
	options := append(identity, nats.Name("ttydrain "+o.Role.String()), nats.MaxReconnects(-1), nats.CustomInboxPrefix(o.inboxPrefix()),
		// Credentials that are refused now may be accepted later, or be replaced: keep trying.
		nats.IgnoreAuthErrorAbort(),
		// Detect a silent failure of a server while sessions still wait for it.
		nats.PingInterval(requestTimeout), nats.FlusherTimeout(requestTimeout),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: it was closed here
				o.Log.Warn("connection to NATS lost", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { o.Log.Warn("reconnecting to NATS failed", "error", connectError(err)) }),
		nats.ReconnectHandler(func(c *nats.Conn) {
			o.Log.Info("reconnected to NATS", "server", c.ConnectedServerName())
			b.signalReconnect()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if refused := b.refusals.note(err); refused != nil {
				err = refused
			}
			o.Log.Warn("NATS connection error", "error", connectError(err)) // refused credentials are reported here instead of by Connect
		}))
	if o.URL == "" {
		if b.lock, err = lockStore(o.Store); err != nil {
			return err
		}
		b.embedded = newEmbedded(o.Store, o.Sync, o.Log)
		b.disk = b.embedded.disk
		if err = b.embedded.start(); err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(b.embedded), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(0, 0))
	}
	if b.conn, err = dialServers(ctx, o.URL, options, o.Log); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.conn, jetstream.WithPublishAsyncTimeout(requestTimeout),
		jetstream.WithPublishAsyncMaxPending(1<<16), jetstream.WithDefaultTimeout(requestTimeout)); err != nil {
		return fmt.Errorf("set up JetStream: %w", err)
	}
	return nil
}

func (o *Options) inboxPrefix() string {
	if o.InboxPrefix != "" {
		return o.InboxPrefix
	}
	return "_INBOX_ttydrain_" + o.Role.String()
}

// identity returns the options for authenticating to the cluster.
func (o *Options) identity() (options []nats.Option, err error) {
	switch {
	case o.CredentialsFile != "":
		options = append(options, nats.UserCredentials(o.CredentialsFile))
	case o.NKeySeedFile != "":
		key, err := readNKey(o.NKeySeedFile)
		if err != nil {
			return nil, err
		}
		options = append(options, key)
	case o.Token != "":
		options = append(options, nats.Token(o.Token))
	case o.Username != "":
		options = append(options, nats.UserInfo(o.Username, o.Password))
	}
	if o.TLS != nil {
		config, err := o.TLS()
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(config), func(n *nats.Options) error {
			// config itself reads the client certificate again.
			n.RootCAsCB = func() (*x509.CertPool, error) {
				config, err := o.TLS()
				if err != nil {
					return nil, err
				}
				return config.RootCAs, nil
			}
			return nil
		})
	}
	return options, nil
}

// readNKey returns the option for the NKey of a user whose seed is in a file. The file is not read
// again: another key is another user, and a signature by one for the other would be refused.
func readNKey(file string) (nats.Option, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the NKey seed: %w", err)
	}
	// The errors of the package contain no secret, but no useful detail either.
	wrong := fmt.Errorf("the file %s has no NKey seed of a user: expected one line that begins with SU", file)
	key, err := nkeys.ParseDecoratedUserNKey(data)
	if err != nil {
		return nil, wrong
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, wrong
	}
	return nats.Nkey(public, key.Sign), nil
}

// connectError adds a remedy to the reason for a failed connection.
func connectError(err error) error {
	hint := ""
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		expired   x509.CertificateInvalidError
		alert     *net.OpError
		header    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		hint = "set nats.ca_file to the PEM file with the authority that signed the certificates of the NATS servers"
	case errors.As(err, &host):
		hint = "use a host name that is in the certificate, or set nats.server_name to one"
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		hint = "renew the certificate of the NATS server, and compare the clocks of both machines"
	case errors.As(err, &alert) && alert.Op == "remote error", errors.Is(err, nats.ErrTLS) && !errors.As(err, &header):
		// With TLS 1.3, a server that refuses the certificate can close the connection before its
		// reason is read.
		hint = "the NATS server refuses the client certificate, or demands one: set nats.cert_file and nats.key_file to a pair by an authority that it trusts"
	case errors.As(err, &header), errors.Is(err, nats.ErrSecureConnWanted):
		hint = "the NATS server does not use TLS on this port: enable it in its configuration, or leave out tls:// and the certificate files of nats"
	case errors.Is(err, nats.ErrSecureConnRequired):
		hint = "the NATS server demands TLS: use tls:// in nats.url, and set nats.ca_file"
	case errors.Is(err, nats.ErrNkeysNotSupported):
		hint = "the NATS server has no users with NKeys: use credentials from its configuration"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		hint = "the NATS server does not accept these credentials: check that its configuration has the user, and which of " +
			"nats.credentials_file, nkey_seed_file, token, or username and password ttydrain uses"
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, syscall.ECONNREFUSED):
		hint = "is the NATS server running, and is nats.url its address?"
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), strings.Contains(err.Error(), "no nkey"):
		hint = "check nats.credentials_file"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}
