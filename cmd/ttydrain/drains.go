package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

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
	c.AddCommand(newDrainTestCommand(r), newPauseCommand(r),
		&cobra.Command{Use: "resume NAME", Short: "Resume a drain that is paused or gone", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				return r.controlDrain(c.Context(), args[0], "resume", "resumed")
			}},
		newRewindCommand(r))
	return c
}

// controlDrain pauses or resumes a drain.
func (r *remote) controlDrain(ctx context.Context, name, action, done string) error {
	var answer struct{}
	printed, err := r.call(ctx, http.MethodPost, "drains/"+url.PathEscape(name)+"/"+action, nil, &answer)
	if !printed && err == nil {
		fmt.Printf("drain %s: %s\n", name, done)
	}
	return err
}

func newPauseCommand(r *remote) *cobra.Command {
	var sure confirmation
	c := &cobra.Command{
		Use:   "pause NAME",
		Short: "Keep a drain's records in the stream",
		Long: "Suspends the delivery to a drain, after it has shown the drain's state and asked. Its records wait in the stream until `drains\n" +
			"resume`, also over restarts. Those that wait for longer than the stream keeps them (streams.retention) become gaps.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if about := r.aboutDrain(c.Context(), args[0]); about != "" && !sure.yes {
				what := fmt.Sprintf("drain %s %s. While it is paused, records wait in the stream: until \"ttydrain drains resume %[1]s\", "+
					"but no longer than streams.retention, after which they are lost to the drain.", args[0], about)
				if err := sure.ask(c.Context(), what, "Pause drain "+args[0]); err != nil {
					return err
				}
			}
			return r.controlDrain(c.Context(), args[0], "pause", "paused")
		},
	}
	sure.flag(c)
	return c
}

// aboutDrain returns a drain's state in words; "" if it is unknown, which the next request reports.
func (r *remote) aboutDrain(ctx context.Context, name string) string {
	var list []operate.DrainStatus
	if _, err := r.quiet().call(ctx, http.MethodGet, "drains", nil, &list); err != nil {
		return ""
	}
	for _, d := range list {
		if d.Name == name {
			return fmt.Sprintf("is %s, with %s not delivered yet", d.State, records(d.LagRecords, d.LagAtLeast))
		}
	}
	return ""
}

// records returns a number of records in words.
func records(n uint64, atLeast bool) string {
	if atLeast {
		return "at least " + plural(n, "record")
	}
	return plural(n, "record")
}

// rewinding holds the flags of one run of `drains rewind`.
type rewinding struct {
	remote    *remote
	to        timeflag.Value
	operation string
	skip      bool
	sure      confirmation
}

func newRewindCommand(r *remote) *cobra.Command {
	k := &rewinding{remote: r}
	c := &cobra.Command{
		Use:   "rewind NAME --to TIME|--operation ID",
		Short: "Redeliver records from a time or an operation on",
		Long: "Moves a drain to a time or an operation, from which on records are delivered again, after it has shown how many the drain gets\n" +
			"twice, and asked.\n\n" +
			"A move forward, past records that the drain does not have, is refused. With --skip the drain\n" +
			"gets gap records instead of them.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return k.run(c.Context(), args[0]) },
	}
	c.Flags().Var(&k.to, "to", "a `TIME`: "+timeflag.Usage)
	c.Flags().StringVar(&k.operation, "operation", "", "the `ID` of an operation")
	c.Flags().BoolVar(&k.skip, "skip", false, "move forward past records that the drain does not have: it gets gap records instead")
	k.sure.flag(c)
	return c
}

func (k *rewinding) run(ctx context.Context, name string) error {
	body := make(map[string]any)
	if !k.to.IsZero() {
		body["to"] = k.to.Time
	}
	if k.operation != "" {
		body["operation"] = k.operation
	}
	if len(body) != 1 {
		return usageError{errors.New("expected either --to TIME or --operation ID")}
	}
	path := "drains/" + url.PathEscape(name) + "/rewind"
	if !k.sure.yes {
		var plan operate.RewindPlan
		if _, err := k.remote.quiet().call(ctx, http.MethodPost, path+"/plan", body, &plan); err != nil {
			return err
		}
		if what := k.consequences(name, &plan); what != "" {
			if err := k.sure.ask(ctx, what, "Rewind drain "+name); err != nil {
				return err
			}
		}
	}
	if k.skip {
		body["skip"] = true
	}
	var answer struct{}
	printed, err := k.remote.call(ctx, http.MethodPost, path, body, &answer)
	if printed || err != nil {
		return err
	}
	fmt.Printf("drain %s: rewound\n", name)
	return nil
}

// consequences returns what a rewind does, in words; "" if there is nothing to confirm: nothing is
// delivered again, or the rewind is refused.
func (k *rewinding) consequences(name string, plan *operate.RewindPlan) string {
	switch {
	case plan.Skipped > 0 && !k.skip:
		return ""
	case plan.Skipped > 0:
		return fmt.Sprintf("drain %s will never get %s that it does not have: it gets gap records instead.", name, records(plan.Skipped, plan.AtLeast))
	case plan.Redelivered > 0:
		return fmt.Sprintf("drain %s gets %s again that it has already.", name, records(plan.Redelivered, plan.AtLeast))
	}
	return ""
}

func printDrains(list []operate.DrainStatus) error {
	if len(list) == 0 {
		return printNone("drains are configured")
	}
	w := newTable()
	fmt.Fprintln(w, "DRAIN\tSTATE\tNEXT TRY\tLAG\tSECONDS\tDELIVERED\tPER SECOND\tDEAD LETTERS\tLAST ERROR")
	for _, d := range list {
		last := d.LastError
		if last != "" {
			last = timeflag.Format(d.LastErrorAt) + " " + last
		}
		lag := strconv.FormatUint(d.LagRecords, 10)
		if d.LagAtLeast { // counting has not finished
			lag = ">=" + lag
		}
		next := "-"
		if !d.NextTry.IsZero() {
			next = timeflag.Format(d.NextTry)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f\t%d\t%.1f\t%d\t%s\n", d.Name, d.State, next, lag, d.LagSeconds, d.Delivered, d.Rate, d.DeadLetters, last)
	}
	return w.Flush()
}
