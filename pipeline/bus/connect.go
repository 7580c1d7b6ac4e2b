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

// connect starts the embedded server where that is wanted, and connects.
func (b *Bus) connect(ctx context.Context, o *Options) (err error) {
	b.refusals = newRefusals(o.Role.String())
	identity, err := o.identity()
	if err != nil {
		return err
	}
	options := append(identity, nats.Name("ttydrain "+o.Role.String()), nats.MaxReconnects(-1), nats.CustomInboxPrefix(o.inboxPrefix()),
		// Credentials that are refused now may be allowed soon, or be replaced: it goes on trying.
		nats.IgnoreAuthErrorAbort(),
		// A server that is gone without a word is noticed while the sessions still wait for it.
		nats.PingInterval(requestTimeout), nats.FlusherTimeout(requestTimeout),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: it was closed here
				o.Log.Warn("the connection to NATS is lost", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { o.Log.Warn("no connection to NATS yet", "error", connectError(err)) }),
		nats.ReconnectHandler(func(c *nats.Conn) {
			o.Log.Info("connected to NATS again", "server", c.ConnectedServerName())
			b.notice()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if refused := b.refusals.note(err); refused != nil {
				err = refused
			}
			o.Log.Warn("NATS", "error", connectError(err)) // credentials that are refused come here, and not as an error of connecting
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

// identity is how to show the cluster who this is.
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
			// The client certificate is read again by config itself.
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

// readNKey is the option for the NKey of a user whose seed is in a file. The file is not read
// again: another key is another user, and a signature by the one in the name of the other would be
// refused.
func readNKey(file string) (nats.Option, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the NKey seed: %w", err)
	}
	// The errors of the package quote nothing, and would tell no more.
	wrong := fmt.Errorf("the file %s holds no NKey seed of a user: it has one line that begins with SU", file)
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

// connectError adds to the reason why no connection was made what there is to do about it.
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
		hint = "connect by a name that the certificate has, or set nats.server_name to one"
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		hint = "renew the certificate of the NATS server, and compare the clocks of both machines"
	case errors.As(err, &alert) && alert.Op == "remote error", errors.Is(err, nats.ErrTLS) && !errors.As(err, &header):
		// In TLS 1.3 a server that refuses the certificate can be gone before its reason is read.
		hint = "the NATS server refuses the client certificate, or demands one: set nats.cert_file and nats.key_file to a pair by an authority that it trusts"
	case errors.As(err, &header), errors.Is(err, nats.ErrSecureConnWanted):
		hint = "the NATS server has no TLS there: switch it on in its configuration, or leave out tls:// and the certificate files of nats"
	case errors.Is(err, nats.ErrSecureConnRequired):
		hint = "the NATS server demands TLS: use tls:// in nats.url, and set nats.ca_file"
	case errors.Is(err, nats.ErrNkeysNotSupported):
		hint = "the NATS server has no users with NKeys: use the credentials that its configuration has"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		hint = "the NATS server does not accept these credentials: look whether its configuration has the user, and which of " +
			"nats.credentials_file, nkey_seed_file, token, or username and password ttydrain shows"
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, syscall.ECONNREFUSED):
		hint = "is the NATS server running, and is nats.url its address?"
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), strings.Contains(err.Error(), "no nkey"):
		hint = "look at nats.credentials_file"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}
