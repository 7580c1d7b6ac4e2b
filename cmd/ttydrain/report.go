package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/enrich"
	adminclient "github.com/ttydrain/ttydrain/pipeline/admin/client"
	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/pipeline/buildinfo"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/report"
)

// reportCommand holds the flags of one run of `report`: an audit, whose result goes to a file.
type reportCommand struct {
	auditCommand
	format, file string
	signingKey   string
	noSignature  bool
}

func newReportCommand() *cobra.Command {
	r := new(reportCommand)
	c := &cobra.Command{
		Use:   "report",
		Short: "Write a signed report of all sessions of a period, with their verdicts",
		Long: "Audits each session in a copy, as \"ttydrain audit\" does, and writes a report for auditors: who opened which session, from where,\n" +
			"when, for how long, with which command, how it ended, and whether it is complete and intact; with totals, gaps, keys and the SHA-256\n" +
			"of each file that was read. With -c, or without --from, it also has the drains of the running ttydrain, their dead letters\n" +
			"and its audit trail.\n\n" +
			"The formats are html (one file, which prints well), csv (a table with one row for each session) and json. The report is signed with\n" +
			"the signing key of the configuration, or that of --signing-key; \"ttydrain audit --report FILE\" verifies it. It contains nothing that\n" +
			"a session showed.\n\n" + fromHelp + "\n\n" +
			"The exit status is that of \"ttydrain audit\": 0 if every session is complete and intact, 1 if something is damaged or missing, 3 if\n" +
			"nothing is but not everything could be proven. The report is written in all three cases. 2 means that there is none.",
		Example: "  ttydrain report -c ttydrain.yaml --since 2026-11-01 --until 2026-12-01 -o november.html\n" +
			"  ttydrain report --from siem.ndjson.gz --jwks jwks.json --signing-key auditor.pem --output csv -o november.csv",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r.configured = c.Flags().Changed("config")
			return r.run(c.Context())
		},
	}
	r.endpointFlags(c)
	r.sourceFlags(c)
	r.selectionFlags(c)
	f := c.Flags()
	f.StringVar(&r.format, "output", report.HTML, "the `FORMAT`: html, csv or json")
	f.StringVar(&r.format, "format", report.HTML, "")
	_ = f.MarkHidden("format") // fails only without the flag
	f.StringVarP(&r.file, "file", "o", "-", "the `FILE` to write, which only you can read (default: standard output)")
	f.StringVar(&r.signingKey, "signing-key", "", "PEM `FILE` with the private key that signs the report (default: the signing key of the configuration)")
	f.BoolVar(&r.noSignature, "unsigned", false, "write a report without a signature, which nothing proves")
	c.MarkFlagsMutuallyExclusive("unsigned", "signing-key")
	return c
}

func (r *reportCommand) run(ctx context.Context) error {
	if err := r.parse(); err != nil {
		return err
	}
	switch r.format {
	case report.HTML, report.CSV, report.JSON:
	default:
		return usageError{fmt.Errorf("--output %q is not known: expected html, csv or json", r.format)}
	}
	r.began = time.Now()
	key, err := r.key()
	if err != nil {
		return unreadable(err)
	}
	var collector report.Collector
	var inputs []report.Input
	r.checked = collector.Add
	r.sum = func(name string, size int64, sum [sha256.Size]byte) {
		inputs = append(inputs, report.Input{Name: name, Bytes: size, SHA256: hex.EncodeToString(sum[:])})
	}
	result, err := r.audit(ctx)
	if err != nil {
		return unreadable(err)
	}
	made := reportMade(r.began)
	var sign report.Sign
	if key != nil {
		sign, made.Signed, made.Key = key.Sign, true, key.ID()
	}
	all := collector.Report(result, made)
	s := &r.selection
	all.Parameters = report.Parameters{Since: s.Since, Until: s.Until, Stack: s.Stack, App: s.App, User: s.User, Operation: s.Operation}
	if all.Server, err = r.server(ctx); err != nil && !r.isStream() {
		fmt.Fprintf(os.Stderr, "ttydrain: the report has no drains and dead letters: %v\n", err)
	} else if err != nil {
		return unreadable(err)
	}
	switch {
	case r.isStream() && all.Server != nil:
		inputs = append(inputs, report.Input{Name: "the LOGS stream of " + all.Server.Address})
	case len(inputs) == 0:
		for _, from := range r.from {
			inputs = append(inputs, report.Input{Name: from})
		}
	}
	all.Inputs = inputs
	write := func(f *os.File) error { return report.Write(f, r.format, all, sign) }
	if r.file == "-" {
		err = write(os.Stdout)
	} else {
		err = writeFile(r.file, write)
	}
	if err != nil {
		return unreadable(err)
	}
	return verdictStatus(result.Verdict)
}

// reportMade describes the making of a report by this program.
func reportMade(at time.Time) report.Made {
	info := buildinfo.Read()
	name, offset := at.Zone()
	zone := fmt.Sprintf("%s, %s from UTC", name, at.Format("-07:00"))
	if offset == 0 {
		zone = "UTC"
	}
	return report.Made{At: at.Truncate(time.Second), TimeZone: zone, Program: info.Version, Commit: info.Commit, Modified: info.Modified}
}

// key returns the key that signs the report; nil for none.
func (r *reportCommand) key() (*enrich.Key, error) {
	if r.noSignature {
		return nil, nil
	}
	if r.signingKey != "" {
		return enrich.ReadKey(r.signingKey, "")
	}
	const without = "no key to sign the report with: set --signing-key FILE, or the configuration (-c FILE), or set --unsigned for a report that nothing proves"
	if _, err := os.Stat(r.config); err != nil && !r.configured {
		return nil, errors.New(without)
	}
	c, err := loadConfig(r.config)
	if err != nil {
		return nil, err
	}
	ring, err := readKeys(c.UserDocument)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, without)
	}
	return ring.Active, nil
}

// server returns the state of the running ttydrain; nil if none is to be asked.
func (r *reportCommand) server(ctx context.Context) (*report.Server, error) {
	if !r.isStream() && !r.configured && r.context == "" && r.address == "" {
		return nil, nil
	}
	asking := r.remote.quiet()
	at, _, err := asking.endpoint()
	if err != nil {
		return nil, err
	}
	var drains []operate.DrainStatus
	if _, err := asking.call(ctx, http.MethodGet, "drains", nil, &drains); err != nil {
		return nil, err
	}
	s := &report.Server{Address: at.Name, Drains: make([]report.Drain, 0, len(drains))}
	for _, d := range drains {
		s.Drains = append(s.Drains, report.Drain{Name: d.Name, State: d.State, LagRecords: d.LagRecords, LagSeconds: d.LagSeconds, Delivered: d.Delivered,
			DeadLetters: d.DeadLetters, LastError: d.LastError, LastErrorAt: d.LastErrorAt})
	}
	q := url.Values{}
	if err := rangeQuery(q, &r.times); err != nil {
		return nil, err
	}
	counts, err := letterCounts(ctx, asking, q)
	if err != nil {
		return nil, err
	}
	s.Refusals = refusals(&counts)
	s.Events, err = r.events(ctx, asking)
	return s, err
}

// events returns the audit trail of the report's period; nil if the server has none.
func (r *reportCommand) events(ctx context.Context, asking *remote) (found []report.Event, err error) {
	q := url.Values{"limit": {"1000"}}
	if err := rangeQuery(q, &r.times); err != nil {
		return nil, err
	}
	for {
		var page []map[string]any
		_, err := asking.call(ctx, http.MethodGet, "audit?"+q.Encode(), nil, &page)
		if refused, ok := errors.AsType[*adminclient.Error](err); ok && refused.Status == http.StatusNotFound {
			return nil, nil
		}
		if err != nil || len(page) == 0 {
			return found, err
		}
		for _, fields := range page {
			e, err := eventOf(fields)
			if err != nil {
				return nil, fmt.Errorf("read the audit trail: %w", err)
			}
			found = append(found, e)
		}
		q.Set("after", strconv.FormatUint(found[len(found)-1].Index, 10))
	}
}

// eventOf returns an event of the audit trail. Fields that the report does not know are details.
func eventOf(fields map[string]any) (e report.Event, err error) {
	data, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	if err != nil {
		return e, err
	}
	e.Details = make(map[string]string)
	for name, value := range fields {
		switch value := value.(type) {
		case []any:
			e.Details[name] = strings.Trim(fmt.Sprint(value), "[]")
		default:
			e.Details[name] = fmt.Sprint(value)
		}
	}
	for _, known := range []string{"index", "time", "kind", "actor", "via", "from", "outcome"} {
		delete(e.Details, known)
	}
	return e, nil
}

// refusals returns the dead letters by drain and reason, the earliest first.
func refusals(counts *operate.LetterCounts) []report.Refusal {
	found := make([]report.Refusal, 0, len(counts.Groups))
	for _, g := range counts.Groups {
		found = append(found, report.Refusal{Drain: g.Drain, Reason: g.Reason, Records: int(g.Letters), First: g.Oldest, Last: g.Newest})
	}
	slices.SortStableFunc(found, func(a, b report.Refusal) int { return a.First.Compare(b.First) })
	return found
}

// verification is the output of `audit --report`.
type verification struct {
	Report  string        `json:"report"`
	Verdict audit.Verdict `json:"verdict"`
	Problem string        `json:"problem,omitempty"`
	Key     string        `json:"key,omitempty"`
	Signed  *report.Claim `json:"signed,omitempty"`
	Inputs  []comparison  `json:"inputs"`
}

// comparison is the comparison of an input of a report with the files that were named.
type comparison struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"`
	Result string `json:"result"`
}

// The results of comparisons.
const (
	inputSame     = "same"
	inputUnknown  = "not an input of the report"
	inputNotGiven = "not compared: name it with --from"
	inputNoFile   = "not compared: it is not a file"
)

// verifyReport verifies the signature of a report, and compares the files of --from with its
// inputs.
func (a *auditCommand) verifyReport(ctx context.Context) error {
	file, err := readAll(a.report)
	if err != nil {
		return unreadable(err)
	}
	keys, err := a.keys(ctx)
	if err != nil {
		return unreadable(err)
	}
	v := verification{Report: a.report, Verdict: audit.Intact, Inputs: []comparison{}}
	v.Signed, v.Key, err = report.Verify(file, &keys)
	switch {
	case errors.Is(err, report.ErrUnsigned):
		v.Verdict, v.Problem = audit.Incomplete, err.Error()
	case err != nil:
		v.Verdict, v.Problem = audit.Damaged, err.Error()
	default:
		if err := v.compare(a.from); err != nil {
			return unreadable(err)
		}
	}
	if a.output == outputJSON {
		err = printJSON(v)
	} else {
		err = v.print()
	}
	if err != nil {
		return err
	}
	return verdictStatus(v.Verdict)
}

// readAll reads a file, or standard input for the name "-".
func readAll(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

// compare compares the inputs of the report with files.
func (v *verification) compare(names []string) error {
	given := make(map[string]bool) // by SHA-256
	inputs := make(map[string]bool)
	for _, i := range v.Signed.Inputs {
		inputs[i.SHA256] = true
	}
	var others []comparison
	for _, name := range names {
		sum, err := sumFile(name)
		if err != nil {
			return err
		}
		given[sum] = true
		if !inputs[sum] {
			v.Verdict = audit.Damaged
			others = append(others, comparison{name, sum, inputUnknown})
		}
	}
	for _, i := range v.Signed.Inputs {
		c := comparison{i.Name, i.SHA256, inputNotGiven}
		switch {
		case i.SHA256 == "":
			c.Result = inputNoFile
		case given[i.SHA256]:
			c.Result = inputSame
		case len(names) > 0 && v.Verdict == audit.Intact:
			v.Verdict = audit.Incomplete
		}
		v.Inputs = append(v.Inputs, c)
	}
	v.Inputs = append(v.Inputs, others...)
	return nil
}

// sumFile returns the SHA-256 of a file in hexadecimal.
func sumFile(name string) (string, error) {
	if strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://") {
		return "", usageError{errors.New("--from with --report: expected files, whose SHA-256 is compared with that in the report")}
	}
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return "", err
		}
		defer f.Close()
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// print prints a verification for people.
func (v *verification) print() error {
	if v.Problem != "" {
		_, err := fmt.Printf("%s: %s: %s\n", cell(v.Report), v.Verdict, cell(v.Problem))
		return err
	}
	c := v.Signed
	fmt.Printf("%s: the signature is valid, and the report is unchanged\n\n", cell(v.Report))
	w := newTable()
	period := report.Parameters{Since: c.Parameters.Since.Local(), Until: c.Parameters.Until.Local()}
	fmt.Fprintf(w, "key\t%s\nmade\t%s\nttydrain\t%s\ncommit\t%s\nsessions begun\t%s\nsessions\t%d: %d intact, %d damaged, %d incomplete\n",
		v.Key, cell(c.Made), cell(c.Program), cell(cmp.Or(c.Commit, "unknown")), period.Period(), c.Sessions, c.Intact, c.Damaged, c.Incomplete)
	if err := w.Flush(); err != nil {
		return err
	}
	w = newTable()
	fmt.Fprintln(w, "\nINPUT\tSHA-256\tRESULT")
	for _, i := range v.Inputs {
		fmt.Fprintf(w, "%s\t%s\t%s\n", cell(i.Name), cmp.Or(i.SHA256, "-"), i.Result)
	}
	return w.Flush()
}
