package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	adminclient "github.com/ttydrain/ttydrain/pipeline/admin/client"
	"github.com/ttydrain/ttydrain/pipeline/endpoint"
	"github.com/ttydrain/ttydrain/pipeline/login"
)

// loginCommand holds the flags of one run of `login`.
type loginCommand struct{ name, caFile, tokenFile string }

func newLoginCommand() *cobra.Command {
	k := new(loginCommand)
	c := &cobra.Command{
		Use:   "login ADDRESS",
		Short: "Save an admin address and its token, for commands without a configuration",
		Long: "Checks a token at the admin server of a running ttydrain, and saves both as a context, which only you can read. Commands then need no\n" +
			"configuration: they use the current context where there is no ttydrain.yaml, or where it has mistakes.\n\n" +
			"ADDRESS is https://HOST:PORT, unix:PATH, or HOST:PORT on this machine. The token comes from --token-file, from " + tokenVariable + ", or\n" +
			"is asked for; without a terminal, it is read from standard input.",
		Example: "  ttydrain login https://ttydrain.example.com:9464\n  ttydrain login unix:/var/lib/ttydrain/admin/admin.sock --name here --token-file /var/lib/ttydrain/admin_token",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return k.run(c.Context(), args[0]) },
	}
	f := c.Flags()
	f.StringVar(&k.name, "name", "", "the `NAME` of the context (default: the host of the address)")
	f.StringVar(&k.caFile, "admin-ca", "", "PEM `FILE` with the authorities to trust (default: the system's)")
	f.StringVar(&k.tokenFile, "token-file", "", "`FILE` with the token (default: "+tokenVariable+", or it is asked for)")
	return c
}

func (k *loginCommand) run(ctx context.Context, address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok { // commands run in other folders
		absolute, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		address = "unix:" + absolute
	}
	one := login.Context{Name: cmp.Or(k.name, hostOf(address)), Address: address}
	if k.caFile != "" {
		absolute, err := filepath.Abs(k.caFile)
		if err != nil {
			return err
		}
		one.CAFile = absolute
	}
	at, err := endpoint.Parse(one.Address, one.CAFile)
	if err != nil {
		return usageError{err}
	}
	if one.Token, err = readToken(k.tokenFile); err != nil {
		return err
	}
	if one.Token == "" {
		if one.Token, err = askToken(at.Name); err != nil {
			return err
		}
	}
	api := adminclient.Client{Endpoint: at, Token: one.Token}
	if _, err := api.Call(ctx, http.MethodGet, "drains", nil, new([]struct{})); err != nil {
		if refused, ok := errors.AsType[*adminclient.Error](err); !ok || refused.Status != http.StatusForbidden {
			return fmt.Errorf("log in to %s: %w", at.Name, err)
		}
	}
	path, err := login.Path()
	if err != nil {
		return err
	}
	saved, err := login.Open(path)
	if err != nil {
		return err
	}
	if err := saved.Put(one); err != nil {
		return err
	}
	fmt.Printf("logged in to %s; commands use the context %s where there is no configuration\n", shown(one.Address), shown(one.Name))
	return nil
}

// hostOf returns the default name of the context of an address.
func hostOf(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return "local"
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return address
}

// maxToken is the maximum length of a token that is read.
const maxToken = 64 << 10

// askToken reads a token from the terminal, without showing it, or from standard input.
func askToken(at string) (string, error) {
	var data []byte
	var err error
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		fmt.Fprintf(os.Stderr, "Token for %s: ", shown(at))
		data, err = term.ReadPassword(in)
		fmt.Fprintln(os.Stderr)
	} else {
		data, err = bufio.NewReader(io.LimitReader(os.Stdin, maxToken)).ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	token := strings.TrimSpace(string(data))
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("read the token: %w: use --token-file FILE or %s", err, tokenVariable)
	}
	return token, nil
}

func newLogoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "logout [CONTEXT]",
		Short:   "Remove a saved context with its token",
		Long:    "Removes the current context, or the named one. The token stays valid: change it on the server if others know it.",
		Example: "  ttydrain logout\n  ttydrain logout ttydrain.example.com:9464",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := openContexts()
			if err != nil {
				return err
			}
			name := saved.Current
			if len(args) > 0 {
				name = args[0]
			}
			known, err := saved.Remove(name)
			if err == nil && !known {
				err = fmt.Errorf("there is no saved context %q: see \"ttydrain contexts\"", name)
			}
			return err
		},
	}
}

func newContextsCommand() *cobra.Command {
	var use string
	c := &cobra.Command{
		Use:     "contexts",
		Short:   "List the saved contexts, or choose the current one",
		Long:    "Lists the admin servers that \"ttydrain login\" has saved, without their tokens. The current one has a *.",
		Example: "  ttydrain contexts\n  ttydrain contexts --use ttydrain.example.com:9464",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			saved, err := openContexts()
			if err != nil {
				return err
			}
			if use != "" {
				known, err := saved.Use(use)
				if err == nil && !known {
					err = fmt.Errorf("there is no saved context %q", use)
				}
				return err
			}
			if len(saved.List) == 0 {
				return printNone("contexts are saved")
			}
			w := newTable()
			fmt.Fprintln(w, "CURRENT\tCONTEXT\tADDRESS")
			for _, one := range saved.List {
				mark := ""
				if one.Name == saved.Current {
					mark = "*"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", mark, cell(one.Name), cell(one.Address))
			}
			return w.Flush()
		},
	}
	c.Flags().StringVar(&use, "use", "", "make `CONTEXT` the current one")
	return c
}
