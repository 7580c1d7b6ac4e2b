package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
)

// statusConnection is the exit status if there was no session, or its connection was lost, as of
// OpenSSH's client.
const statusConnection = exitStatus(255)

func newSSHCommand() *cobra.Command {
	var o sshOptions
	c := &cobra.Command{
		Use:   "ssh [--app APP] [--force-tty] [COMMAND...]",
		Short: "Open a session on a ttydrain gateway",
		Long: "Opens a session on a ttydrain gateway: with a terminal if input and output both are terminals, otherwise\n" +
			"with separate output and error output. Without COMMAND it runs the app's own command, /bin/bash by\n" +
			"default. Without --app it opens the only app that you may open; if there are several, it lists them.\n" +
			"Everything after the first argument that is no flag belongs to COMMAND, whose words are joined with\n" +
			"spaces and read by the app's shell.\n\n" +
			"Without a terminal, SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to the session; the third one\n" +
			"closes the connection.\n\n" +
			"Exits with the session's status, with 128 plus the signal's number when a signal ended it, and with\n" +
			"255 if there was no session or its connection was lost.",
		Example: "  ttydrain ssh --app web\n  ttydrain ssh --app web --address gateway.example.com:2222 -- ls -l /srv | wc -l",
		RunE: func(c *cobra.Command, args []string) error {
			o.command = strings.Join(args, " ")
			return o.run(c.Context())
		},
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.app, "app", "", "the `APP` to open the session on (default $TTYDRAIN_APP, or the only one that you may open)")
	f.StringVar(&o.address, "address", "", "the gateway's `HOST:PORT` (default $TTYDRAIN_ADDRESS, or 127.0.0.1:2222)")
	f.StringArrayVarP(&o.identities, "identity", "i", nil,
		"`FILE` of a private key to log in with, and FILE-cert.pub of its certificate; repeatable (default the key agent's keys, then ~/.ssh/id_ed25519, id_ecdsa, id_rsa)")
	f.StringVar(&o.knownHosts, "known-hosts", "", "`FILE` of known host keys (default ~/.ssh/known_hosts)")
	f.BoolVar(&o.acceptNew, "accept-new", false, "add the key of an unknown host without asking; a changed key is still refused")
	f.BoolVar(&o.sendToken, "send-token", false, "send the access token in $ACCESS_TOKEN to the gateway; the session does not get it")
	f.BoolVar(&o.forceTTY, "force-tty", false, "open a terminal even if input or output is none")
	return c
}

// sshOptions hold the flags of one run of `ttydrain ssh`.
type sshOptions struct {
	app, address, knownHosts, command string
	identities                        []string
	acceptNew, forceTTY, sendToken    bool
}

func (o *sshOptions) run(ctx context.Context) error {
	if err := o.complete(); err != nil {
		return err
	}
	// Signals go to the session, and do not end the command's context.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	signals := client.CatchSignals()
	defer signals.Stop()

	release := signals.Handle(func(s syscall.Signal) { cancel(client.EndedBy(s)) })
	conn, err := o.dial(ctx)
	release()
	if err != nil {
		return o.report(err)
	}
	defer conn.Close() // after the session, an error loses nothing
	local := client.Local{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ForceTTY: o.forceTTY, Signals: signals, Cancel: cancel}
	status, err := local.Run(ctx, conn, o.command, o.env())
	switch {
	case err != nil:
		return o.report(err)
	case status != 0:
		return exitStatus(status)
	}
	return nil
}

// complete sets options that are not on the command line from the environment.
func (o *sshOptions) complete() error {
	o.app = cmp.Or(o.app, os.Getenv("TTYDRAIN_APP"))
	o.address = cmp.Or(o.address, os.Getenv("TTYDRAIN_ADDRESS"), "127.0.0.1:2222")
	host, port, err := net.SplitHostPort(o.address)
	if err != nil { // without a port
		host, port = strings.Trim(o.address, "[]"), "2222"
	}
	o.address = net.JoinHostPort(strings.ToLower(host), port) // known hosts are in lower case
	if o.knownHosts == "" {
		o.knownHosts = filepath.Join(sshFolder(), "known_hosts")
	}
	return nil
}

func sshFolder() string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/" // where no files are found, and the message has the path
	}
	return filepath.Join(home, ".ssh")
}

// report prints an error with advice, and returns the exit status for it.
func (o *sshOptions) report(err error) error {
	if ended, ok := errors.AsType[client.EndedBy](err); ok {
		fmt.Fprintf(os.Stderr, "ttydrain: %v\n", ended)
		return exitStatus(128 + int(ended))
	}
	if errors.Is(err, client.ErrOutput) && errors.Is(err, syscall.EPIPE) { // as a program that SIGPIPE kills, silently
		return exitStatus(128 + int(syscall.SIGPIPE))
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		return usage
	}
	if status, ok := errors.AsType[exitStatus](err); ok { // the gateway has printed the reason
		return status
	}
	text := err.Error()
	hostKey, changed := errors.AsType[*client.HostKeyError](err)
	_, unreachable := errors.AsType[*net.OpError](err)
	switch {
	case changed:
		fmt.Fprintln(os.Stderr, client.Printable(hostKey.Error()))
		return statusConnection
	case errors.Is(err, client.ErrNoIdentity):
		text += ": name a private key with --identity FILE, or make one with: ssh-keygen -t ed25519"
	case errors.Is(err, client.ErrLogin) && o.app == "":
		text += ": none of these keys may use any app; name another key with --identity FILE, or ask the gateway's operators"
	case errors.Is(err, client.ErrLogin):
		text += ": the app does not exist, or none of these keys may use it; name another key with --identity FILE, or ask the gateway's operators"
	case unreachable:
		text += ": check that the gateway runs, and that --address is right"
	}
	fmt.Fprintf(os.Stderr, "ttydrain: %s\n", client.Printable(text))
	return statusConnection
}

// dial connects and logs in. The question about an unknown host is asked between two connections,
// so that the gateway does not wait for the answer.
func (o *sshOptions) dial(ctx context.Context) (*client.Client, error) {
	identities, err := client.LoadIdentities(ctx, client.IdentityOptions{
		Files:       o.identities,
		Folder:      sshFolder(),
		AgentSocket: os.Getenv("SSH_AUTH_SOCK"),
		Ask:         askPassphrase,
		Report: func(name string, err error) {
			fmt.Fprintf(os.Stderr, "ttydrain: not used: %s: %v\n", name, err)
		},
	})
	if err != nil {
		return nil, err
	}
	defer identities.Close()
	if o.app == "" {
		if o.app, err = o.onlyApp(ctx, identities.Signers); err != nil {
			return nil, err
		}
	}
	return o.dialApp(ctx, o.app, identities.Signers)
}

// onlyApp requests the list of apps that the user may open, and returns the app if it is the only
// one.
func (o *sshOptions) onlyApp(ctx context.Context, signers []ssh.Signer) (string, error) {
	conn, err := o.dialApp(ctx, gateway.NoApp, signers)
	if err != nil {
		return "", err
	}
	defer conn.Close() // after the session, an error loses nothing
	apps, status, err := conn.Apps(ctx, o.env(), os.Stderr)
	switch {
	case err != nil:
		return "", err
	case status != 0: // the gateway has printed the reason
		return "", exitStatus(status)
	}
	if len(apps) == 1 {
		return apps[0], nil
	}
	return "", usageError{fmt.Errorf("several apps are possible: name one with --app APP or in the environment variable TTYDRAIN_APP:\n  %s", strings.Join(apps, "\n  "))}
}

func (o *sshOptions) dialApp(ctx context.Context, app string, signers []ssh.Signer) (*client.Client, error) {
	conn, err := o.dialWith(ctx, app, signers)
	if unknown, ok := errors.AsType[*client.UnknownHostError](err); ok {
		if err := o.trust(ctx, unknown); err != nil {
			return nil, err
		}
		conn, err = o.dialWith(ctx, app, signers)
	}
	return conn, err
}

func (o *sshOptions) dialWith(ctx context.Context, app string, signers []ssh.Signer) (*client.Client, error) {
	hosts := client.KnownHosts{File: o.knownHosts}
	algorithms, err := hosts.Algorithms(o.address)
	if err != nil {
		return nil, err
	}
	return client.Dial(ctx, client.Options{
		Address: o.address, User: app, Signers: signers,
		HostKey: hosts.Check, HostKeyAlgorithms: algorithms, Banner: os.Stderr,
	})
}

// trust adds an unknown host's key to the known ones, after confirmation.
func (o *sshOptions) trust(ctx context.Context, unknown *client.UnknownHostError) error {
	if !o.acceptNew {
		if err := o.askTrust(ctx, unknown); err != nil {
			return err
		}
	}
	if err := (client.KnownHosts{File: o.knownHosts}).Add(unknown.Address, unknown.Key); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "ttydrain: added the key %s of %s to %s\n", ssh.FingerprintSHA256(unknown.Key), unknown.Address, o.knownHosts)
	return nil
}

func (o *sshOptions) askTrust(ctx context.Context, unknown *client.UnknownHostError) error {
	console, err := client.OpenConsole()
	if err != nil {
		return fmt.Errorf("%w; there is no terminal to confirm it on: compare it with the one that the gateway's operators publish, "+
			"then run this once on a terminal or with --accept-new, or add the key to %s", unknown, o.knownHosts)
	}
	defer console.Close()
	return client.ConfirmHost(ctx, unknown, console.Ask)
}

// askPassphrase asks for a key's passphrase on the terminal.
func askPassphrase(ctx context.Context, file string, again bool) ([]byte, error) {
	console, err := client.OpenConsole()
	if err != nil {
		return nil, err
	}
	defer console.Close()
	prompt := fmt.Sprintf("Enter passphrase for key '%s': ", file)
	if again {
		prompt = "Wrong passphrase. " + prompt
	}
	return console.AskSecret(ctx, prompt)
}

// env returns the environment to send: the language and, if requested, the access token.
func (o *sshOptions) env() map[string]string {
	env := locale()
	if o.sendToken {
		env["ACCESS_TOKEN"] = os.Getenv("ACCESS_TOKEN")
	}
	return env
}

// locale returns the variables that set the language.
func locale() map[string]string {
	env := make(map[string]string)
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if name == "LANG" || strings.HasPrefix(name, "LC_") {
			env[name] = value
		}
	}
	return env
}
