package access

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/sinks"
)

// openTokens returns the verifier of access tokens, or nil if none are configured.
func openTokens(a *config.AccessToken, log *slog.Logger) (*identity.Tokens, error) {
	if a == nil {
		return nil, nil
	}
	o := identity.TokenOptions{Issuer: a.Issuer, Audience: a.Audience, Algorithms: a.Algorithms, Keys: a.Keys}
	if a.JWKSURL == "" {
		return identity.NewTokens(o), nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if a.TLS != (config.TLS{}) {
		var err error
		if transport.TLSClientConfig, err = sinks.TLS(a.TLS).Config(); err != nil {
			return nil, fmt.Errorf("access_token: %w", err)
		}
	}
	// Keys are fetched rarely: no connection is kept for the next time, or left open when the settings
	// change.
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the address redirects: configure the one that it leads to")
	}}
	o.Keys = identity.NewRemoteKeys(identity.RemoteOptions{
		URL: a.JWKSURL, Client: client, Refresh: a.RefreshInterval, MaxStale: a.MaxStale, Log: log,
	})
	return identity.NewTokens(o), nil
}
