package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

// A bulk is an operation on all dead letters that flags select.
type bulk struct {
	verb, done string // in the API, and in the result

	all, dryRun   bool
	drain, reason string
	times         timeflag.Range
}

func (b *bulk) flags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&b.all, "all", false, "all dead letters")
	f.StringVar(&b.drain, "drain", "", "all those of the drain with this `NAME`")
	f.StringVar(&b.reason, "reason", "", "all those with exactly this `REASON`, as `deadletters list` shows it")
	rangeFlags(c, &b.times, "all records that the drain refused")
	f.BoolVar(&b.dryRun, "dry-run", false, "show how many there are by drain and reason, and do nothing")
}

// check returns an error unless the command line names either a dead letter or a selection.
func (b *bulk) check(args []string) error {
	selected := b.drain != "" || b.reason != "" || !b.times.Since.IsZero() || !b.times.Until.IsZero()
	switch {
	case len(args) > 0 && (selected || b.all || b.dryRun):
		return usageError{errors.New("expected either the number of a dead letter, or flags that select some")}
	case len(args) == 0 && !selected && !b.all:
		return usageError{errors.New("expected the number of a dead letter, or --all, --drain, --reason, --since or --until")}
	case selected && b.all:
		return usageError{errors.New("--all: expected no other flag that selects dead letters")}
	}
	return nil
}

// run counts the selected dead letters, asks if sure is not nil, and processes those that it has
// counted.
func (b *bulk) run(ctx context.Context, r *remote, sure *confirmation) error {
	if err := checkOutput(r.output); err != nil {
		return err
	}
	q := url.Values{}
	for name, value := range map[string]string{"drain": b.drain, "reason": b.reason} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if err := rangeQuery(q, &b.times); err != nil {
		return err
	}
	counts, err := letterCounts(ctx, r, q)
	if err != nil {
		return err
	}
	if b.dryRun {
		return printCounts(r.output, &counts)
	}
	total := uint64(0)
	for _, g := range counts.Groups {
		total += g.Letters
	}
	if sure != nil && total > 0 {
		if err := sure.ask(ctx, lettersLost(&counts), "Discard "+plural(total, "record")); err != nil {
			return err
		}
	}
	result := operate.BulkResult{Failures: []operate.BulkFailure{}}
	if total > 0 {
		if err := b.process(ctx, r, q, counts.Last, total, &result); err != nil {
			return fmt.Errorf("after %d of %s: %w", result.Done+result.Failed, plural(total, "dead letter"), err)
		}
	}
	return b.print(r.output, &result)
}

// letterCounts returns the counts of the dead letters that a query selects.
func letterCounts(ctx context.Context, r *remote, q url.Values) (operate.LetterCounts, error) {
	progress, done := showProgress("counting")
	defer done()
	q = maps.Clone(q)
	return addCounts(func(after uint64) (part operate.LetterCounts, err error) {
		if after > 0 {
			q.Set("after", strconv.FormatUint(after, 10))
		}
		_, err = r.quiet().call(ctx, http.MethodGet, "deadletters/counts?"+q.Encode(), nil, &part)
		return part, err
	}, progress)
}

// addCounts adds up counts. get returns those after a number, of which a response may have a part.
func addCounts(get func(after uint64) (operate.LetterCounts, error), progress replay.Progress) (operate.LetterCounts, error) {
	counts := operate.LetterCounts{Groups: []operate.LetterGroup{}}
	for n := int64(0); ; {
		part, err := get(counts.Next)
		if err != nil {
			return counts, err
		}
		counts.Add(&part)
		if counts.Next == 0 {
			return counts, nil
		}
		for _, g := range part.Groups {
			n += int64(g.Letters)
		}
		if progress != nil {
			progress(n, 0)
		}
	}
}

// process processes the dead letters up to a number, and adds the results to result.
func (b *bulk) process(ctx context.Context, r *remote, q url.Values, last, total uint64, result *operate.BulkResult) error {
	q.Set("last", strconv.FormatUint(last, 10))
	progress, done := showProgress(b.done)
	defer done()
	for {
		var part operate.BulkResult
		if _, err := r.quiet().call(ctx, http.MethodPost, "deadletters/"+b.verb+"?"+q.Encode(), nil, &part); err != nil {
			return err
		}
		result.Add(&part)
		if part.Next == 0 {
			return nil
		}
		if progress != nil {
			progress(int64(result.Done+result.Failed), int64(total))
		}
		q.Set("after", strconv.FormatUint(part.Next, 10))
	}
}

// print prints a result. The command exits with 1 if dead letters failed.
func (b *bulk) print(output string, result *operate.BulkResult) error {
	if output == outputJSON {
		if err := printJSON(result); err != nil {
			return err
		}
	} else {
		fmt.Printf("%s: %s\n", plural(result.Done, "dead letter"), b.done)
		for _, f := range result.Failures {
			fmt.Fprintln(os.Stderr, shown(fmt.Sprintf("%s of drain %s, from %d on: %s", plural(f.Letters, "dead letter"), f.Drain, f.First, cell(f.Error))))
		}
	}
	if result.Failed > 0 {
		fmt.Fprintf(os.Stderr, "ttydrain: %s failed, and remain\n", plural(result.Failed, "dead letter"))
		return exitStatus(1)
	}
	return nil
}

func printCounts(output string, counts *operate.LetterCounts) error {
	if output == outputJSON {
		return printJSON(counts)
	}
	if len(counts.Groups) == 0 {
		return printNone("dead letters")
	}
	w := newTable()
	fmt.Fprintln(w, "LETTERS\tDRAIN\tOLDEST\tNEWEST\tSTATUS\tREASON")
	for _, g := range counts.Groups {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", g.Letters, g.Drain, timeflag.Format(g.Oldest), timeflag.Format(g.Newest), g.Status, g.Reason)
	}
	return w.Flush()
}

// lettersLost returns the consequences of discarding dead letters.
func lettersLost(counts *operate.LetterCounts) string {
	var lines []string
	for _, g := range counts.Groups {
		lines = append(lines, fmt.Sprintf("drain %s will never get %s, which it refused with: %s", g.Drain, plural(g.Letters, "record"), cell(g.Reason)))
	}
	return strings.Join(lines, "\n")
}
