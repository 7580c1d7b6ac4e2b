package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
)

func newDeadLettersCommand() *cobra.Command {
	r := new(remote)
	c := &cobra.Command{Use: "deadletters", Short: "Show, redeliver or discard records that a drain will never accept", Args: cobra.NoArgs}
	r.flags(c)
	var drain string
	list := &cobra.Command{Use: "list", Short: "List dead letters, the oldest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var letters []operate.Letter
			if printed, err := r.call(c.Context(), http.MethodGet, "deadletters?drain="+url.QueryEscape(drain), nil, &letters); printed || err != nil {
				return err
			}
			w := newTable()
			fmt.Fprintln(w, "NUMBER\tTIME\tDRAIN\tOPERATION\tSEQUENCE\tSTATUS\tREASON")
			for _, l := range letters {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%d\t%s\n", l.Number, l.Time.Local().Format(time.DateTime), l.Drain, l.Operation, l.Sequence, l.Status, l.Reason)
			}
			return w.Flush()
		}}
	list.Flags().StringVar(&drain, "drain", "", "only those of the drain with this `NAME`")
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
		r.forLetter("redeliver", "Write a dead letter to its drain again", "delivered", http.MethodPost, "/redeliver"),
		r.forLetter("discard", "Remove a dead letter: the drain never gets its record", "discarded", http.MethodDelete, ""))
	return c
}

func (r *remote) forLetter(name, about, done, method, path string) *cobra.Command {
	return &cobra.Command{Use: name + " NUMBER", Short: about, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var answer struct{}
			if printed, err := r.call(c.Context(), method, "deadletters/"+url.PathEscape(args[0])+path, nil, &answer); printed || err != nil {
				return err
			}
			fmt.Printf("dead letter %s: %s\n", args[0], done)
			return nil
		}}
}
