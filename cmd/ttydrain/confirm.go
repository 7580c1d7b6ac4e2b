package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/client"
)

// A confirmation asks the operator before a command removes something, or interrupts a service. All
// commands of that kind ask in the same way.
type confirmation struct{ yes bool }

func (k *confirmation) flag(c *cobra.Command) {
	c.Flags().BoolVarP(&k.yes, "yes", "y", false, "do it without asking")
}

// ask shows the consequences of a command, and asks a question that "yes" confirms. If the answer
// is another, nothing is done and the command exits with 1; without a terminal, it fails with the
// consequences.
func (k *confirmation) ask(ctx context.Context, consequences, question string) error {
	if k.yes {
		return nil
	}
	consequences = shown(strings.TrimSpace(consequences))
	console, err := client.OpenConsole()
	if err != nil {
		return usageError{fmt.Errorf("%s\nttydrain: there is no terminal to ask on: set --yes to do it", consequences)}
	}
	defer console.Close()
	answer, err := console.Ask(ctx, fmt.Sprintf("%s\n%s (yes/no)? ", consequences, shown(question)))
	if err != nil {
		return err
	}
	if !strings.EqualFold(answer, "yes") && !strings.EqualFold(answer, "y") {
		fmt.Fprintln(os.Stderr, "ttydrain: nothing was done")
		return exitStatus(1)
	}
	return nil
}

// plural returns a number with a noun.
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
