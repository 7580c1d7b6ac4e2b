// Command ttydrain records the output that users see in ephemeral SSH sessions, and delivers it,
// enriched and provably complete, to log drains.
//
// Results go to standard output, everything else to standard error. The exit status is 0 for
// success, 1 for a failure and 2 for a wrong command line; `ttydrain ssh` exits with the remote
// status.
//
// This package is wiring: one file for each command, and node.go, which connects the parts of a
// process that serves. What a command does is in a package below pipeline.
//
// # Adding a command
//
//  1. A file NAME.go with newNAMECommand, which returns the command with its flags, long help and
//     examples, and a line for it in newRootCommand (main.go).
//  2. Its name in a group of commandGroups (help.go). A test requires two examples.
//  3. The values of its flags and arguments for the shell: setCompletions (complete.go).
//  4. The reference, which a test compares: go test ./cmd/ttydrain ./cmd/ttydrain/docs -run
//     Reference -update. A script of what it prints is below e2e/testdata/script.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/buildinfo"
	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
)

// The exit statuses of all commands, besides 0 for success. Other statuses are those of a command.
const (
	statusFailure = 1
	statusUsage   = 2 // a wrong command line
)

// exitStatus is the error of a command that has printed all that there is to print.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// A usageError is a mistake in the command line.
type usageError struct{ error }

func main() {
	if sandbox.InitMain() {
		return
	}
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal requests a stop; the second one ends the process at once.
	context.AfterFunc(ctx, stop)
	useLog(slog.New(slog.DiscardHandler)) // the commands that have a log set it
	return runCommand(ctx, os.Args[1:]...)
}

// runCommand runs a command, reports its error, and returns the exit status.
func runCommand(ctx context.Context, args ...string) int {
	root := newRootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var status exitStatus
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "ttydrain: %s\n", shown(err.Error()))
		return statusUsage
	}
	fmt.Fprintf(os.Stderr, "ttydrain: %s\n", shown(err.Error()))
	return statusFailure
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "ttydrain",
		Short:         "Deliver the output of ephemeral SSH sessions to log drains",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see %q", err, c.CommandPath()+" --help")}
	})
	root.AddCommand(newDemoCommand(), newInitCommand(), newServeCommand(), newConsoleCommand(), newLoginCommand(), newLogoutCommand(), newContextsCommand(), newCheckCommand(), newSSHCommand(), newReceiveCommand(),
		newDrainsCommand(), newDeadLettersCommand(), newSessionsCommand(), newStreamsCommand(), newReadyCommand(), newKeysCommand(), newAuditCommand(), newReportCommand(), newEventsCommand(), newSchemaCommand(),
		newReplayCommand(), newExportCommand(), newTailCommand(), newDashboardsCommand(), newAlertsCommand(), newDocsCommand(), newVersionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	setHelp(root)
	setCompletions(root)
	makeStrict(root)
	return root
}

// makeStrict turns wrong arguments of a command and its subcommands into usage errors. A command
// that only groups others prints its help without arguments, and refuses unknown names.
func makeStrict(c *cobra.Command) {
	for _, below := range c.Commands() {
		makeStrict(below)
	}
	check := c.Args
	if !c.Runnable() {
		check = unknownCommand
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check == nil {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w: see %q", err, c.CommandPath()+" --help")}
		}
		return nil
	}
}

// unknownCommand refuses every argument, and suggests the nearest command.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.SuggestionsMinimumDistance == 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q, nearest %q", args[0], near[0])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// buildInfo returns the metric with the version in its labels.
func buildInfo() prometheus.Collector {
	info := buildinfo.Read()
	labels := prometheus.Labels{"version": info.Version, "revision": info.Commit, "goversion": info.Go}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: "build_info",
		Help: "What runs, in the labels; always 1.", ConstLabels: labels}, func() float64 { return 1 })
}

// version returns the version of the binary, or "(devel)".
func version() string { return buildinfo.Read().Version }
