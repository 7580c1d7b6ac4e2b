// Command ttydrain takes what people see in ephemeral SSH sessions and delivers it, enriched and
// provably complete, to log drains.
//
// What goes where: results go to standard output, everything else to standard error. Exit status 0
// is success, 1 a failure that was told, 2 a wrong command line; `ttydrain ssh` exits with the
// remote status.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
)

// exitStatus is an error that has been told already, or needs no telling.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a mistake in the command line.
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
	// The first signal asks to stop; a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	err := newRootCommand().ExecuteContext(ctx)
	var status exitStatus
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "ttydrain: %v\n", err)
		return 2
	}
	fmt.Fprintf(os.Stderr, "ttydrain: %v\n", err)
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "ttydrain",
		Short:         "Deliver what people see in ephemeral SSH sessions to log drains",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see %q", err, c.CommandPath()+" --help")}
	})
	root.AddCommand(newDemoCommand(), newServeCommand(), newCheckCommand(), newSSHCommand(), newReceiveCommand(),
		newDrainsCommand(), newDeadLettersCommand(), newSchemaCommand())
	return root
}

// version is what the binary was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
