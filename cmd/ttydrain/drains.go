package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	adminclient "github.com/ttydrain/ttydrain/pipeline/admin/client"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

func newDrainsCommand() *cobra.Command {
	r := new(remote)
	c := &cobra.Command{Use: "drains", Short: "Show, test, pause and rewind the drains of a running ttydrain", Args: cobra.NoArgs}
	r.flags(c)
	c.AddCommand(&cobra.Command{Use: "list", Short: "Show the state of each drain", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []operate.DrainStatus
			if printed, err := r.call(c.Context(), http.MethodGet, "drains", nil, &list); printed || err != nil {
				return err
			}
			return printDrains(list)
		}})
	simple := func(name, about, done string) *cobra.Command {
		return &cobra.Command{Use: name + " NAME", Short: about, Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				var answer struct{}
				printed, err := r.call(c.Context(), http.MethodPost, "drains/"+url.PathEscape(args[0])+"/"+name, nil, &answer)
				if printed || err != nil {
					return err
				}
				fmt.Printf("drain %s: %s\n", args[0], done)
				return nil
			}}
	}
	c.AddCommand(
		newDrainTestCommand(r),
		simple("pause", "Keep a drain's records in the stream", "paused"),
		simple("resume", "Resume a drain that is paused or gone", "goes on"),
		newRewindCommand(r))
	return c
}

func newRewindCommand(r *remote) *cobra.Command {
	var to timeflag.Value
	var operation string
	var skip, yes bool
	c := &cobra.Command{
		Use:   "rewind NAME --to TIME|--operation ID",
		Short: "Redeliver records from a time or an operation on",
		Long: "Moves a drain to a time or an operation, from which on records are delivered again.\n\n" +
			"A move forward, past records that the drain does not have, is refused. With --skip the drain\n" +
			"gets gap records instead of them, after a confirmation, which --yes skips.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			body := make(map[string]any)
			if !to.IsZero() {
				body["to"] = to.Time
			}
			if operation != "" {
				body["operation"] = operation
			}
			switch {
			case len(body) != 1:
				return usageError{fmt.Errorf("expected either --to TIME or --operation ID")}
			case yes && !skip:
				return usageError{fmt.Errorf("--yes is for --skip: expected both")}
			}
			printed, err := r.rewind(c.Context(), args[0], body)
			if refused, ok := errors.AsType[*adminclient.Error](err); ok && skip && refused.Status == http.StatusConflict {
				if !yes {
					if err := confirmSkip(c.InOrStdin(), refused.Text); err != nil {
						return err
					}
				}
				body["skip"] = true
				printed, err = r.rewind(c.Context(), args[0], body)
			}
			if printed || err != nil {
				return err
			}
			fmt.Printf("drain %s: rewound\n", args[0])
			return nil
		},
	}
	c.Flags().Var(&to, "to", "a `TIME`: "+timeflag.Usage)
	c.Flags().StringVar(&operation, "operation", "", "the `ID` of an operation")
	c.Flags().BoolVar(&skip, "skip", false, "move forward past records that the drain does not have: it gets gap records instead")
	c.Flags().BoolVar(&yes, "yes", false, "skip without confirmation")
	return c
}

func (r *remote) rewind(ctx context.Context, name string, body map[string]any) (printed bool, err error) {
	var answer struct{}
	return r.call(ctx, http.MethodPost, "drains/"+url.PathEscape(name)+"/rewind", body, &answer)
}

// confirmSkip shows which records would be skipped, and asks for confirmation. Without a terminal
// it returns an error.
func confirmSkip(in io.Reader, what string) error {
	what, _, _ = strings.Cut(what, ": use --skip")
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usageError{fmt.Errorf("%s: set --yes to skip them without a terminal", what)}
	}
	fmt.Fprintf(os.Stderr, "%s.\nSkip them? [y/N] ", shown(what))
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was skipped")
	}
	return nil
}

func printDrains(list []operate.DrainStatus) error {
	w := newTable()
	fmt.Fprintln(w, "DRAIN\tSTATE\tNEXT TRY\tLAG\tSECONDS\tDELIVERED\tPER SECOND\tDEAD LETTERS\tLAST ERROR")
	for _, d := range list {
		last := d.LastError
		if last != "" {
			last = d.LastErrorAt.Local().Format(time.DateTime) + " " + last
		}
		lag := strconv.FormatUint(d.LagRecords, 10)
		if d.LagAtLeast { // counting has not finished
			lag = ">=" + lag
		}
		next := "-"
		if !d.NextTry.IsZero() {
			next = d.NextTry.Local().Format("15:04:05 MST")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f\t%d\t%.1f\t%d\t%s\n", d.Name, d.State, next, lag, d.LagSeconds, d.Delivered, d.Rate, d.DeadLetters, last)
	}
	return w.Flush()
}
