package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
	"github.com/ttydrain/ttydrain/sinks"
)

// Exit statuses of audit, besides 0 for success and 2 for a command line or a copy that can't be
// read.
const (
	auditDamaged    = 1
	auditIncomplete = 3
)

// auditCommand holds the flags of one run of `audit`.
type auditCommand struct {
	copyFlags
	jwks       string
	unsigned   bool
	configured bool   // -c is on the command line
	report     string // the report to verify instead of sessions
	began      time.Time
	// checked and sum, unless they are nil, are called with each session and with each file: see
	// [audit.Checker] and [replay.Files].
	checked func(*replay.Session, *audit.Result)
	sum     func(name string, size int64, sum [sha256.Size]byte)
}

func newAuditCommand() *cobra.Command {
	a := new(auditCommand)
	c := &cobra.Command{
		Use:   "audit",
		Short: "Verify that a drain's copy of sessions is complete and intact",
		Long: "Verifies each session in a copy, and reports exactly where it is not complete and intact: which records are missing, were\n" +
			"added, changed or reordered or belong to another session, and whether the end is there with a valid signature. Neither the order\n" +
			"of the records nor repeats matter.\n\n" + fromHelp + "\n\n" +
			"Signatures are verified with the keys of the configuration, including retired ones, or those of --jwks, such as the file\n" +
			"/.well-known/jwks.json of the admin address.\n\n" +
			"Exits with 0 if every session is complete and intact, 1 if something is damaged or missing, 3 if nothing is but not everything\n" +
			"could be proven: a session runs, a gap was recorded, or signatures were not verified; and 2 if the copy can't be read.\n\n" +
			"With --report it verifies a report of \"ttydrain report\" instead: its signature, which covers every byte, and with --from whether the\n" +
			"files are those that the report was made of. Exits with 1 if the report was changed, 3 if it has no signature or not all files were\n" +
			"given.",
		Example: "  ttydrain audit -c ttydrain.yaml\n  ttydrain audit --from siem.ndjson.gz --jwks jwks.json\n" +
			"  ttydrain audit --from https://es.example.com:9200/logs-ssh-default --jwks jwks.json --since 24h --output json\n" +
			"  ttydrain audit --report november.html --jwks jwks.json --from siem.ndjson.gz",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a.configured = c.Flags().Changed("config")
			for _, name := range []string{"operation", "app", "user", "stack", "since", "until", "unsigned"} {
				if a.report != "" && c.Flags().Changed(name) {
					return usageError{fmt.Errorf("--report and --%s contradict each other: a report is verified whole", name)}
				}
			}
			return a.run(c.Context())
		},
	}
	a.flags(c)
	a.selectionFlags(c)
	f := c.Flags()
	f.BoolVar(&a.unsigned, "unsigned", false, "do not verify signatures: finds accidents, and proves nothing")
	f.StringVar(&a.report, "report", "", "verify this report of \"ttydrain report\", a `FILE`, instead of sessions; --from compares files with its inputs")
	return c
}

// selectionFlags adds the flags for sessions and keys that report has, too.
func (a *auditCommand) selectionFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.selection.Operation, "operation", "", "only the session with this `ID`")
	f.StringVar(&a.selection.Stack, "stack", "", "only sessions on the stack with this `NAME`, which syslog does not have")
	f.StringVar(&a.jwks, "jwks", "", "the keys that verify signatures: a `FILE` or the URL of a JSON Web Key Set, or a file with a public key in PEM (default: those of the configuration)")
}

func (a *auditCommand) run(ctx context.Context) error {
	if err := a.parse(); err != nil {
		return err
	}
	if a.unsigned && a.jwks != "" {
		return usageError{errors.New("--unsigned and --jwks contradict each other: expected one of both")}
	}
	if a.report != "" {
		return a.verifyReport(ctx)
	}
	a.began = time.Now()
	report, err := a.audit(ctx)
	if err != nil {
		return unreadable(err)
	}
	if report.Empty() {
		return usageError{fmt.Errorf("there is no session to audit: the copy has %d records of sessions that were asked for, and %d lines or documents that are not ttydrain's",
			report.Summary.Records, report.Summary.Others)}
	}
	if a.output == outputJSON {
		err = printJSON(report)
	} else {
		err = printAudit(report)
	}
	if err != nil {
		return err
	}
	return verdictStatus(report.Verdict)
}

// verdictStatus returns the exit status for a verdict.
func verdictStatus(v audit.Verdict) error {
	switch v {
	case audit.Damaged:
		return exitStatus(auditDamaged)
	case audit.Incomplete:
		return exitStatus(auditIncomplete)
	}
	return nil
}

// unreadable returns an error that exits with 2, since 1 stands for damage.
func unreadable(err error) error {
	if status := exitStatus(0); errors.As(err, &status) {
		return exitStatus(2)
	}
	return usageError{err}
}

func (a *auditCommand) audit(ctx context.Context) (*audit.Report, error) {
	checker := &audit.Checker{Runs: a.running(ctx), Checked: a.checked}
	if !a.unsigned {
		keys, err := a.keys(ctx)
		if err != nil {
			return nil, err
		}
		checker.Keys = &keys
	}
	progress, done := showProgress("reading")
	defer done()
	source, err := a.open(progress)
	if err != nil {
		return nil, err
	}
	if files, ok := source.(*replay.Files); ok {
		files.Sum = a.sum
	}
	return checker.Audit(ctx, source, a.selection)
}

// proven describes what the signatures prove of a session.
func proven(s *audit.Result) string {
	list := cmp.Or(strings.Join(s.Proven, ", "), "nothing")
	if s.ProvenThrough > 0 {
		list += fmt.Sprintf(" to record %d", s.ProvenThrough)
	}
	return list
}

// printAudit prints a report for people: a table of the sessions, and then their findings.
func printAudit(r *audit.Report) error {
	w := newTable()
	fmt.Fprintln(w, "SESSION\tVERDICT\tCOMPLETE\tINTACT\tPROVEN\tRECORDS\tSTARTED\tAPP\tUSER")
	for _, s := range r.Sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", cell(s.Operation), s.Verdict, yesNo(s.Complete), yesNo(s.Intact), proven(&s),
			s.Records, timeflag.Format(s.Started), cell(s.App), cell(s.User))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range r.Sessions {
		for i, f := range s.Findings {
			if i == 0 {
				fmt.Printf("\nsession %s:\n", cell(s.Operation))
			}
			fmt.Println("  " + cell(f.String()))
		}
	}
	if len(r.Summary.Unreadable) > 0 {
		fmt.Println("\nof no session that was asked for:")
	}
	for _, b := range r.Summary.Unreadable {
		fmt.Printf("  %s: a record that can't be read: %s\n", cell(b.Place.String()), shown(b.What))
	}
	if more := r.Summary.UnreadableCount - len(r.Summary.Unreadable); more > 0 {
		fmt.Printf("  and %d more\n", more)
	}
	s := &r.Summary
	fmt.Printf("\n%s: %d intact, %d damaged, %d incomplete\n", plural(uint64(s.Sessions), "session"), s.Intact, s.Damaged, s.Incomplete)
	if s.Others+s.Tests > 0 {
		fmt.Printf("passed over: %d lines or documents that are not ttydrain's, %d records that tested a drain\n", s.Others, s.Tests)
	}
	return nil
}

func yesNo(is bool) string { return map[bool]string{true: "yes", false: "no"}[is] }

// keys returns the keys that verify signatures.
func (a *auditCommand) keys(ctx context.Context) (set identity.KeySet, err error) {
	switch {
	case strings.HasPrefix(a.jwks, "https://"), strings.HasPrefix(a.jwks, "http://"):
		set, err = a.fetchKeys(ctx)
	case a.jwks != "":
		var data []byte
		if data, err = os.ReadFile(a.jwks); err == nil {
			set, err = parseKeys(data)
		}
	default:
		return a.configuredKeys()
	}
	if err != nil {
		return set, fmt.Errorf("--jwks %s: %w", a.jwks, err)
	}
	return set, nil
}

// parseKeys parses a key set, or a public key in PEM.
func parseKeys(data []byte) (identity.KeySet, error) {
	if bytes.HasPrefix(data, []byte("-----BEGIN")) {
		return identity.ParsePublicKey(data)
	}
	return identity.ParseKeySet(data)
}

// configuredKeys returns the keys of the configuration.
func (a *auditCommand) configuredKeys() (set identity.KeySet, err error) {
	if _, err := os.Stat(a.config); err != nil && !a.configured && !a.isStream() {
		return set, errors.New("no keys to verify signatures with: set --jwks FILE or URL, or the configuration (-c FILE), or set --unsigned to verify no signature")
	}
	c, err := loadConfig(a.config)
	if err != nil {
		return set, err
	}
	ring, err := readKeys(c.UserDocument)
	if err != nil {
		return set, fmt.Errorf("%w: name --jwks if this machine does not have the signing key", err)
	}
	data, err := ring.JWKS(0, time.Now()) // including those that are no longer published
	if err != nil {
		return set, err
	}
	return identity.ParseKeySet(data)
}

// fetchKeys fetches the key set.
func (a *auditCommand) fetchKeys(ctx context.Context) (set identity.KeySet, err error) {
	transport, err := sinks.TLS{CAFile: a.caFile}.Transport(time.Minute)
	if err != nil {
		return set, err
	}
	defer transport.Close()
	return identity.FetchKeySet(ctx, &http.Client{Transport: transport}, a.jwks)
}

// running returns a function that reports whether a session still runs, according to the ttydrain
// whose stream is read or whose configuration is named; nil if there is none.
func (a *auditCommand) running(ctx context.Context) func(operation string) bool {
	if !a.isStream() && !a.configured {
		return nil
	}
	asking := a.remote.quiet()
	failed := false
	return func(operation string) bool {
		if failed {
			return false
		}
		var s operate.SessionStatus
		_, err := asking.call(ctx, http.MethodGet, "sessions/"+url.PathEscape(operation), nil, &s)
		if err != nil && !strings.Contains(err.Error(), operate.ErrNotFound.Error()) {
			failed = true
			fmt.Fprintf(os.Stderr, "ttydrain: the running sessions are unknown, and a session without an end counts as damaged: %v\n", err)
		}
		// The end of a session may have been recorded after the copy was read.
		return err == nil && (s.State != operate.SessionEnded || s.Ended.After(a.began.Add(-time.Minute)))
	}
}
