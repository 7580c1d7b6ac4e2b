package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
	"github.com/ttydrain/ttydrain/sinks"
)

// consoleCommand holds the flags of one run of `console`.
type consoleCommand struct {
	remote
	name string
}

func newConsoleCommand() *cobra.Command {
	k := new(consoleCommand)
	c := &cobra.Command{
		Use:   "console",
		Short: "Print a link that logs in to the console once",
		Long: "Prints a URL that logs a browser in to the console of a running ttydrain, without the admin token. It can be used once, within\n" +
			"five minutes, by anyone who has it: open it, and do not pass it on. The console and its log show the name in --name.\n\n" +
			"The token in the URL follows a #, so that browsers do not send it to servers, and it appears in no log.",
		Example: "  ttydrain console\n  ttydrain console --name \"Ada Lovelace\" --output json | jq -r .url",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return k.run(c.Context()) },
	}
	k.flags(c)
	c.Flags().StringVar(&k.name, "name", "", "the `NAME` to log in with (default: the user and the host)")
	return c
}

func (k *consoleCommand) run(ctx context.Context) error {
	var link admin.LoginLink
	printed, err := k.call(ctx, http.MethodPost, "console/links", map[string]string{"name": cmp.Or(k.name, requester())}, &link)
	if printed || err != nil {
		return err
	}
	fmt.Println(shown(link.URL))
	fmt.Fprintf(os.Stderr, "ttydrain: this link can be used once, until %s\n", timeflag.Format(link.Expires))
	return nil
}

// newConsole returns the console of a configuration; nil if it is disabled, or if there is no way
// to log in. local is the URL of the admin server on this machine.
func newConsole(c *config.Config, local, token string, log *slog.Logger) (*console.Console, error) {
	wanted := &c.Admin.Console
	o := console.Options{URL: wanted.Base, Local: local, Trusted: wanted.Proxies, PHI: wanted.ShowPHI, Log: log}
	if wanted.OIDC == nil && wanted.ProxyHeader == "" || wanted.TokenLogin {
		o.Token, o.Tokens = token, adminTokens(c)
	}
	for _, r := range wanted.Roles {
		o.Rules = append(o.Rules, role.Rule{Email: r.Email, Group: r.Group, Grant: grantOf(r.Grant)})
	}
	if wanted.ProxyHeader != "" {
		o.Proxy = &console.Proxy{Header: wanted.ProxyHeader, Trusted: wanted.Proxies, Allowed: wanted.AllowedEmails}
	}
	if p := wanted.OIDC; p != nil {
		transport, err := sinks.TLS(p.TLS).Transport(0)
		if err != nil {
			return nil, sinks.SettingsWithin("oidc", err)
		}
		o.OIDC = &console.OIDC{Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(), Scopes: p.Scopes,
			AllowedEmails: p.AllowedEmails, AllowedGroups: p.AllowedGroups, GroupsClaim: p.GroupsClaim, Client: &http.Client{Transport: transport}}
	}
	if wanted.Disabled || o.Token == "" && o.Proxy == nil && o.OIDC == nil {
		return nil, nil
	}
	o.Help = sync.OnceValue(consoleHelp) // parsing the pages takes 12 ms
	return console.New(o)
}
