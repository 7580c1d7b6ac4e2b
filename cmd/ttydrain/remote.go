package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	adminclient "github.com/ttydrain/ttydrain/pipeline/admin/client"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/endpoint"
	"github.com/ttydrain/ttydrain/pipeline/login"
	"github.com/ttydrain/ttydrain/schema"
)

// tokenVariable is the environment variable with the token for the admin server.
const tokenVariable = "TTYDRAIN_TOKEN"

// A remote is a running ttydrain, at its admin address.
type remote struct {
	config, address, caFile string // flags
	context, tokenFile      string // flags
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
	f.StringVarP(&r.config, "config", "c", defaultConfig, "the configuration that serve runs with, a YAML `FILE`")
	f.StringVar(&r.address, "admin", "", "the admin `ADDRESS` of the running ttydrain: HOST:PORT on this machine, https://HOST:PORT or unix:PATH (default: the socket, or the address, of the configuration)")
	f.StringVar(&r.caFile, "admin-ca", "", "PEM `FILE` with the authorities to trust for --admin https://… (default: admin.ca_file of the configuration, or the system's)")
	f.StringVar(&r.context, "context", "", "the saved `CONTEXT` to use instead of a configuration: see \"ttydrain login\"")
	f.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the token for the admin address (default: "+tokenVariable+", then the saved context, then the configuration)")
}

// defaultConfig is the file that commands read without -c.
const defaultConfig = "ttydrain.yaml"

// endpoint returns the address of the running ttydrain, and the token for it. In this order: from
// the flags; from --context; from the configuration; and, where that is missing or has mistakes,
// from the current context, or from the store on this machine.
func (r *remote) endpoint() (at endpoint.Endpoint, token string, err error) {
	if r.context != "" && r.address != "" {
		return at, "", usageError{errors.New("--context and --admin exclude each other")}
	}
	given, err := readToken(r.tokenFile)
	if err != nil {
		return at, "", err
	}
	saved, err := openContexts()
	if err != nil {
		return at, "", err
	}
	if r.context != "" {
		one := saved.Find(r.context)
		if one == nil {
			return at, "", fmt.Errorf("there is no saved context %q: see \"ttydrain contexts\"", r.context)
		}
		return r.at(one, given)
	}
	if r.address != "" {
		if one := saved.At(r.address); one != nil {
			return r.at(one, given)
		}
		if given != "" {
			at, err = endpoint.Parse(r.address, r.caFile)
			return at, given, err
		}
	}
	_, missing := os.Stat(r.config)
	if errors.Is(missing, fs.ErrNotExist) && r.config == defaultConfig && r.address == "" {
		if one := saved.Find(""); one != nil {
			return r.at(one, given)
		}
	}
	c, err := loadConfig(r.config)
	if err != nil {
		return r.withoutConfig(given, saved, err)
	}
	if token = given; token == "" {
		if token, err = adminToken(c, false); err != nil {
			return at, "", err
		}
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

// at returns the endpoint of a saved context. The flags take precedence over it.
func (r *remote) at(one *login.Context, given string) (endpoint.Endpoint, string, error) {
	at, err := endpoint.Parse(one.Address, cmp.Or(r.caFile, one.CAFile))
	return at, cmp.Or(given, one.Token), err
}

// withoutConfig returns the endpoint where the configuration cannot be read, as while it is edited:
// of the current context, or the socket in the store that the configuration names. cause is why it
// cannot be read.
func (r *remote) withoutConfig(given string, saved *login.Contexts, cause error) (at endpoint.Endpoint, token string, err error) {
	hint := func() (endpoint.Endpoint, string, error) {
		fmt.Fprintf(os.Stderr, "ttydrain: without a valid configuration, use --admin ADDRESS with --token-file FILE or %s, or \"ttydrain login ADDRESS\"\n", tokenVariable)
		return at, "", cause
	}
	if _, err := os.Stat(r.config); err != nil || r.address != "" {
		return hint()
	}
	if one := saved.Find(""); one != nil && r.config == defaultConfig {
		fmt.Fprintf(os.Stderr, "ttydrain: the configuration has mistakes: using the saved context %s\n", shown(one.Name))
		return r.at(one, given)
	}
	store := config.StoreOf(r.config)
	socket := config.SocketIn(store)
	if _, err := os.Stat(socket); err != nil {
		return hint()
	}
	if token = given; token == "" {
		if token, err = adminToken(&config.Config{Store: store}, false); err != nil {
			return hint()
		}
	}
	fmt.Fprintf(os.Stderr, "ttydrain: the configuration has mistakes: using unix:%s\n", shown(socket))
	at, err = endpoint.Parse("unix:"+socket, "")
	return at, token, err
}

// readToken returns the token in a file or, without one, in the environment; "" if there is none.
func readToken(file string) (string, error) {
	if file == "" {
		return strings.TrimSpace(os.Getenv(tokenVariable)), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("--token-file: %s must have the token, in one line", file)
	}
	return token, nil
}

// openContexts returns the saved contexts of the user; none where there is no home folder.
func openContexts() (*login.Contexts, error) {
	path, err := login.Path()
	if err != nil {
		return new(login.Contexts), nil
	}
	return login.Open(path)
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
