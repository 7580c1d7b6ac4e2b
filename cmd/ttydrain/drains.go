package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline"
)

func newDrainsCommand() *cobra.Command {
	r := new(remote)
	c := &cobra.Command{Use: "drains", Short: "See how the drains of a running ttydrain stand, test, pause and rewind them", Args: cobra.NoArgs}
	r.flags(c)
	c.AddCommand(&cobra.Command{Use: "list", Short: "Tell how each drain stands", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []pipeline.DrainStatus
			if printed, err := r.ask(c.Context(), http.MethodGet, "drains", nil, &list); printed || err != nil {
				return err
			}
			return printDrains(list)
		}})
	simple := func(name, about, done string) *cobra.Command {
		return &cobra.Command{Use: name + " NAME", Short: about, Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				var answer struct{}
				printed, err := r.ask(c.Context(), http.MethodPost, "drains/"+url.PathEscape(args[0])+"/"+name, nil, &answer)
				if printed || err != nil {
					return err
				}
				fmt.Printf("drain %s: %s\n", args[0], done)
				return nil
			}}
	}
	c.AddCommand(
		newDrainTestCommand(r),
		simple("pause", "Let a drain's records wait in the stream", "paused"),
		simple("resume", "Go on where a drain was paused, or gone", "goes on"),
		newRewindCommand(r))
	return c
}

func newRewindCommand(r *remote) *cobra.Command {
	var to, operation string
	c := &cobra.Command{
		Use:   "rewind NAME --to TIME|--operation ID",
		Short: "Deliver again what came at a time or later, or from an operation on",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			body := make(map[string]any)
			if to != "" {
				at, err := time.Parse(time.RFC3339, to)
				if err != nil {
					return usageError{fmt.Errorf("--to %q is not understood: expected a time such as 2026-01-31T09:30:00Z", to)}
				}
				body["to"] = at
			}
			if operation != "" {
				body["operation"] = operation
			}
			if len(body) != 1 {
				return usageError{fmt.Errorf("expected either --to TIME or --operation ID")}
			}
			var answer struct{}
			if printed, err := r.ask(c.Context(), http.MethodPost, "drains/"+url.PathEscape(args[0])+"/rewind", body, &answer); printed || err != nil {
				return err
			}
			fmt.Printf("drain %s: rewound\n", args[0])
			return nil
		},
	}
	c.Flags().StringVar(&to, "to", "", "a `TIME` such as 2026-01-31T09:30:00Z")
	c.Flags().StringVar(&operation, "operation", "", "the `ID` of an operation")
	return c
}

func printDrains(list []pipeline.DrainStatus) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DRAIN\tSTATE\tLAG\tSECONDS\tDELIVERED\tPER SECOND\tDEAD LETTERS\tLAST ERROR")
	for _, d := range list {
		last := d.LastError
		if last != "" {
			last = d.LastErrorAt.Local().Format(time.DateTime) + " " + last
		}
		lag := strconv.FormatUint(d.LagRecords, 10)
		if d.LagAtLeast { // it is being counted
			lag = ">=" + lag
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f\t%d\t%.1f\t%d\t%s\n", d.Name, d.State, lag, d.LagSeconds, d.Delivered, d.Rate, d.DeadLetters, last)
	}
	return w.Flush()
}
