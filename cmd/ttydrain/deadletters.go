package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
	"github.com/ttydrain/ttydrain/schema"
)

func newDeadLettersCommand() *cobra.Command {
	r := new(remote)
	c := &cobra.Command{Use: "deadletters", Short: "Show, redeliver or discard records that a drain will never accept", Args: cobra.NoArgs}
	r.flags(c)
	var drain, reason string
	var times timeflag.Range
	list := &cobra.Command{Use: "list", Short: "List dead letters, the oldest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{"drain": {drain}, "reason": {reason}}
			if err := rangeQuery(q, &times); err != nil {
				return err
			}
			var letters []operate.Letter
			if printed, err := r.call(c.Context(), http.MethodGet, "deadletters?"+q.Encode(), nil, &letters); printed || err != nil {
				return err
			}
			if len(letters) == 0 {
				return printNone("dead letters")
			}
			w := newTable()
			fmt.Fprintln(w, "NUMBER\tTIME\tDRAIN\tOPERATION\tSEQUENCE\tSTATUS\tREASON")
			for _, l := range letters {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%d\t%s\n", l.Number, timeflag.Format(l.Time), l.Drain, l.Operation, l.Sequence, l.Status, l.Reason)
			}
			return w.Flush()
		}}
	list.Flags().StringVar(&drain, "drain", "", "only those of the drain with this `NAME`")
	list.Flags().StringVar(&reason, "reason", "", "only those with exactly this `REASON`")
	rangeFlags(list, &times, "only records that the drain refused")
	c.AddCommand(list,
		&cobra.Command{Use: "show NUMBER", Short: "Show a dead letter with its record, as JSON", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				var letter json.RawMessage
				if printed, err := r.call(c.Context(), http.MethodGet, "deadletters/"+url.PathEscape(args[0]), nil, &letter); printed || err != nil {
					return err
				}
				_, err := fmt.Println(string(schema.AppendEscaped(nil, letter)))
				return err
			}},
		newRedeliverCommand(r), newDiscardCommand(r))
	return c
}

func newRedeliverCommand(r *remote) *cobra.Command {
	many := bulk{verb: "redeliver", done: "delivered"}
	c := &cobra.Command{
		Use:   "redeliver [NUMBER]",
		Short: "Write dead letters to their drains again",
		Long: "Writes a dead letter to its drain again, or all those that the flags select, and removes each when its drain has accepted it. " +
			"One that fails remains, and does not stop the others.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := many.check(args); err != nil {
				return err
			}
			if len(args) == 0 {
				return many.run(c.Context(), r, nil)
			}
			return r.forLetter(c.Context(), args[0], "delivered", http.MethodPost, "/redeliver")
		},
	}
	many.flags(c)
	return c
}

func newDiscardCommand(r *remote) *cobra.Command {
	var sure confirmation
	many := bulk{verb: "discard", done: "discarded"}
	c := &cobra.Command{
		Use:   "discard [NUMBER]",
		Short: "Remove dead letters: their drains never get the records",
		Long: "Removes a dead letter, or all those that the flags select, after it has shown which records these are, and asked. " +
			"Their drains never get the records.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := many.check(args); err != nil {
				return err
			}
			if len(args) == 0 {
				return many.run(c.Context(), r, &sure)
			}
			if !sure.yes {
				if err := sure.ask(c.Context(), r.aboutLetter(c.Context(), args[0]), "Discard this record"); err != nil {
					return err
				}
			}
			return r.forLetter(c.Context(), args[0], "discarded", http.MethodDelete, "")
		},
	}
	sure.flag(c)
	many.flags(c)
	return c
}

// aboutLetter returns the consequences of discarding a dead letter. It reads the list, which has no
// session content.
func (r *remote) aboutLetter(ctx context.Context, number string) string {
	var letters []operate.Letter
	if _, err := r.quiet().call(ctx, http.MethodGet, "deadletters", nil, &letters); err == nil {
		for _, l := range letters {
			if fmt.Sprint(l.Number) == number {
				return fmt.Sprintf("drain %s will never get 1 record: record %d of session %s, which it refused at %s with %d: %s", l.Drain, l.Sequence, l.Operation,
					timeflag.Format(l.Time), l.Status, cell(l.Reason))
			}
		}
	}
	return "the drain of dead letter " + number + " will never get its record"
}

// forLetter calls an operation on a dead letter.
func (r *remote) forLetter(ctx context.Context, number, done, method, path string) error {
	var answer struct{}
	if printed, err := r.call(ctx, method, "deadletters/"+url.PathEscape(number)+path, nil, &answer); printed || err != nil {
		return err
	}
	fmt.Printf("dead letter %s: %s\n", number, done)
	return nil
}
