package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	adminclient "github.com/ttydrain/ttydrain/pipeline/admin/client"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/endpoint"
	"github.com/ttydrain/ttydrain/schema"
)

// adminToken returns the token of operators' commands: that of the configuration or, with an
// embedded server, that of the file admin_token in the store, which is created if it is missing and
// create is set. It is "" if there is none.
func adminToken(c *config.Config, create bool) (string, error) {
	if c.Admin.Token.IsSet() || c.Store == "" {
		return c.Admin.Token.Reveal(), nil
	}
	path := filepath.Join(c.Store, "admin_token")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		data = []byte(rand.Text())
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("admin token: %w: is serve running with this configuration, and may you read its store?", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// A remote is a running ttydrain, at its admin address.
type remote struct {
	config, address, caFile string // flags
	output                  string
}

func (r *remote) flags(c *cobra.Command) {
	r.endpointFlags(c)
	outputFlag(c, &r.output)
}

// endpointFlags adds the flags of a command whose output has one format.
func (r *remote) endpointFlags(c *cobra.Command) {
	r.output = outputTable
	f := c.PersistentFlags()
	f.StringVarP(&r.config, "config", "c", "ttydrain.yaml", "the configuration that serve runs with, a YAML `FILE`")
	f.StringVar(&r.address, "admin", "", "the admin `ADDRESS` of the running ttydrain: HOST:PORT on this machine, https://HOST:PORT or unix:PATH (default: the socket, or the address, of the configuration)")
	f.StringVar(&r.caFile, "admin-ca", "", "PEM `FILE` with the authorities to trust for --admin https://… (default: admin.ca_file of the configuration, or the system's)")
}

// endpoint returns the address of the running ttydrain, and the token for it.
func (r *remote) endpoint() (at endpoint.Endpoint, token string, err error) {
	c, err := loadConfig(r.config)
	if err != nil {
		return at, "", err
	}
	if token, err = adminToken(c, false); err != nil {
		return at, "", err
	}
	if token == "" {
		return at, "", errors.New("admin.token is not set in the configuration: set it, to operate a ttydrain on a NATS cluster")
	}
	if r.address != "" {
		at, err = endpoint.Parse(r.address, cmp.Or(r.caFile, c.Admin.CAFile))
	} else {
		at, err = endpoint.Local(c.Admin.Socket, c.Admin.Listen, c.Admin.TLS != nil)
	}
	return at, token, err
}

// call calls the admin API, and decodes the answer into value. It prints the answer itself, and
// reports that, if JSON is asked for.
func (r *remote) call(ctx context.Context, method, path string, body, value any) (printed bool, err error) {
	if err := checkOutput(r.output); err != nil {
		return false, err
	}
	at, token, err := r.endpoint()
	if err != nil {
		return false, err
	}
	api := adminclient.Client{Endpoint: at, Token: token}
	answer, err := api.Call(ctx, method, path, body, value)
	if err != nil || r.output != outputJSON {
		return false, err
	}
	_, err = os.Stdout.Write(schema.AppendEscaped(nil, answer))
	return true, err
}

// quiet returns the same remote for calls whose answers are not printed.
func (r *remote) quiet() *remote {
	quiet := *r
	quiet.output = outputTable
	return &quiet
}
