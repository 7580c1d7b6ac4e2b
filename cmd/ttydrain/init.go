package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/setup"
)

// Default values of init.
const (
	initApp      = "shell"
	initGateway  = "127.0.0.1:2222"
	initAdmin    = "127.0.0.1:9464"
	initReceiver = "127.0.0.1:8443"
)

// initializing holds the flags of one run of `init`.
type initializing struct {
	setup.Options
	user string
	yes  bool
}

func newInitCommand() *cobra.Command {
	i := new(initializing)
	c := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Create a configuration, keys and a local receiver, and show how to run them",
		Long: "Creates what a first session on this machine needs, in the folder DIR (default: the working directory): a configuration with\n" +
			"comments, the gateway's host key, the key that signs the ends of sessions, the authority and the certificate of a local receiver,\n" +
			"and the list of your public keys: those in ~/.ssh or, if there are none, a new key pair in DIR. Then it prints the commands to\n" +
			"run next.\n\n" +
			"It asks for what no flag sets; --yes takes the defaults, with free ports. It replaces no existing configuration without --force,\n" +
			"and never keys or certificates. Only you can read the keys, the configuration and, if it is new, DIR.",
		Example: "  ttydrain init\n  ttydrain init --yes --app web --user \"Ada Lovelace <ada@example.com>\" ./try",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			i.Dir = "."
			if len(args) > 0 {
				i.Dir = filepath.Clean(args[0])
			}
			return i.run()
		},
	}
	f := c.Flags()
	f.StringVar(&i.user, "user", "", "the `USER` who may open sessions: a name and an e-mail address, as in \"Ada Lovelace <ada@example.com>\"")
	f.StringVar(&i.App, "app", "", "the `NAME` of the app, by which users log in (default "+initApp+")")
	f.StringVar(&i.Gateway, "listen", "", "the `ADDRESS` of the SSH server (default "+initGateway+")")
	f.StringVar(&i.Admin, "admin", "", "the `ADDRESS` of the console and the metrics (default "+initAdmin+")")
	f.StringVar(&i.Receiver, "receiver", "", "the `ADDRESS` of the local receiver (default "+initReceiver+")")
	f.BoolVarP(&i.yes, "yes", "y", false, "take the defaults without asking")
	f.BoolVar(&i.Force, "force", false, "replace an existing configuration; keys and certificates stay")
	return c
}

func (i *initializing) run() error {
	if err := i.complete(); err != nil {
		return err
	}
	result, err := setup.Create(i.Options)
	if err != nil {
		return err
	}
	for _, path := range result.Created {
		fmt.Println("created", shown(path))
	}
	for _, path := range result.Kept {
		fmt.Println("kept", shown(path))
	}
	return result.WriteNext(os.Stdout, programCommand())
}

// complete sets the options that are not on the command line: it asks for them, or takes the
// defaults.
func (i *initializing) complete() error {
	i.Admin = cmp.Or(i.Admin, setup.FreeAddress(initAdmin))
	i.Receiver = cmp.Or(i.Receiver, setup.FreeAddress(initReceiver))
	i.HasAgent = os.Getenv("SSH_AUTH_SOCK") != ""
	i.SSHFolder = sshFolder()
	setAddress := func(text string) error { i.Gateway = text; return setup.CheckAddress(text) }
	setApp := func(text string) error { i.App = text; return setup.CheckApp(text) }
	setUser := func(text string) (err error) { i.User, err = setup.ParseUser(text); return err }
	var open []setup.Question
	for _, q := range []struct {
		flag, given string
		setup.Question
	}{
		{"--user", i.user, setup.Question{Text: "Your name and e-mail address, as records show them", Default: defaultUser(), Use: setUser}},
		{"--app", i.App, setup.Question{Text: "Name of the app, as in ssh NAME@HOST", Default: initApp, Use: setApp}},
		{"--listen", i.Gateway, setup.Question{Text: "Address of the SSH server", Default: setup.FreeAddress(initGateway), Use: setAddress}},
	} {
		switch answer := cmp.Or(q.given, q.Default); {
		case q.given == "" && !i.yes:
			open = append(open, q.Question)
		default:
			if err := q.Use(answer); err != nil {
				return usageError{fmt.Errorf("%s: %w", q.flag, err)}
			}
		}
	}
	for _, flag := range []struct{ name, value string }{{"--admin", i.Admin}, {"--receiver", i.Receiver}} {
		if err := setup.CheckAddress(flag.value); err != nil {
			return usageError{fmt.Errorf("%s: %w", flag.name, err)}
		}
	}
	if len(open) > 0 && !term.IsTerminal(int(os.Stdin.Fd())) {
		return usageError{errors.New("there is no terminal to ask on: set --yes for the defaults")}
	}
	return setup.Ask(os.Stdin, os.Stderr, open)
}

// defaultUser returns the user of this process, as name and e-mail address.
func defaultUser() string {
	name, login := "", ""
	if u, err := user.Current(); err == nil {
		login = u.Username
		name, _, _ = strings.Cut(u.Name, ",") // of the GECOS field
	}
	login = cmp.Or(login, "user")
	text := cmp.Or(strings.TrimSpace(name), login) + " <" + login + "@localhost>"
	if _, err := setup.ParseUser(text); err != nil { // special characters
		a := mail.Address{Name: login, Address: "user@localhost"}
		return a.String()
	}
	return text
}

// programCommand returns the command that runs this program again, for a shell.
func programCommand() string {
	if strings.Contains(os.Args[0], string(filepath.Separator)+"go-build") { // the file of `go run` is gone afterwards
		return "go run ./cmd/ttydrain"
	}
	name := filepath.Base(os.Args[0])
	if path, err := exec.LookPath(name); err == nil && path == os.Args[0] {
		return setup.ShellQuote(name)
	}
	return setup.ShellQuote(os.Args[0])
}
