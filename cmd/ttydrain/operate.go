package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/admin/endpoint"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/schema"
)

// adminToken is the token that operators' commands show: that of the configuration or, with an
// embedded server, that of the file admin_token in the store, which is made when it is missing. ""
// where there is none.
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

// operateTimeout bounds what a running ttydrain is asked to do. Testing a drain takes longest.
const operateTimeout = 2 * time.Minute

// remote is a running ttydrain, at its admin address.
type remote struct {
	config, address, caFile string // flags
	output                  string
}

func (r *remote) flags(c *cobra.Command) {
	r.endpointFlags(c)
	c.PersistentFlags().StringVar(&r.output, "output", "table", "`FORMAT` of what is printed: table or json")
}

// endpointFlags are the flags of a command that has no output to choose.
func (r *remote) endpointFlags(c *cobra.Command) {
	r.output = "table"
	f := c.PersistentFlags()
	f.StringVarP(&r.config, "config", "c", "ttydrain.yaml", "the configuration that serve runs with, a YAML `FILE`")
	f.StringVar(&r.address, "admin", "", "the admin `ADDRESS` of the one that runs: HOST:PORT on this machine, https://HOST:PORT or unix:PATH (default: the socket, or the address, of the configuration)")
	f.StringVar(&r.caFile, "admin-ca", "", "PEM `FILE` with the authorities to trust for --admin https://… (default: admin.ca_file of the configuration, or the system's)")
}

// endpoint is where the running ttydrain is asked, and the token to show it.
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

// A remoteError is an answer that is an error.
type remoteError struct {
	Status int
	Text   string
}

func (e remoteError) Error() string { return e.Text }

// ask sends a request, decodes the answer into value, and prints it as it is where JSON is wanted;
// printed says whether it did.
func (r *remote) ask(ctx context.Context, method, path string, body, value any) (printed bool, err error) {
	if r.output != "table" && r.output != "json" {
		return false, usageError{fmt.Errorf("--output %q is not known: expected table or json", r.output)}
	}
	at, token, err := r.endpoint()
	if err != nil {
		return false, err
	}
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return false, err
		}
		sent = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(ctx, operateTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, at.URL+"/api/v1/"+path, sent)
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := at.Client.Do(request)
	if err != nil {
		return false, fmt.Errorf("%w: is serve running, and is %s its admin address?", err, at.Name)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, remoteError{Status: response.StatusCode, Text: endpoint.Refusal(response)}
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return false, fmt.Errorf("read the answer of %s: %w", at.Name, err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return false, fmt.Errorf("read the answer of %s: %w", at.Name, err)
	}
	if r.output == "json" {
		_, err := os.Stdout.Write(schema.AppendEscaped(nil, data))
		return true, err
	}
	return false, nil
}
