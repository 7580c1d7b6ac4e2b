package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

func newDrainTestCommand(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:   "test NAME",
		Short: "Write a test record to a drain, and show each step",
		Long: "Has a running ttydrain write a test record to the drain, in the same way as session logs, and shows each\n" +
			"step: DNS, TCP, a proxy, TLS with the certificates' dates, authentication, acceptance. If a step fails, it\n" +
			"shows what to do, and exits with 1. The record's operation_id begins with test-, which no session's does.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			report := new(drain.Report)
			body := map[string]string{"asked_by": requester()}
			printed, err := r.call(c.Context(), http.MethodPost, "drains/"+url.PathEscape(args[0])+"/test", body, report)
			if err == nil && !printed {
				err = printReport(os.Stdout, report)
			}
			if err == nil && !report.OK {
				err = exitStatus(1)
			}
			return err
		},
	}
}

// requester returns the user and the host of this process, for records of who did something.
func requester() string {
	name := "unknown user"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += " at " + host
	}
	return name
}

// marks precede the results of steps.
var marks = map[string]string{probe.ResultOK: "✓", probe.ResultWarning: "!", probe.ResultFailed: "✗", probe.ResultNotTried: "-"}

// printReport prints the test of a drain as a table: a row for each step, with the details below.
func printReport(to io.Writer, report *drain.Report) error {
	result := "FAILED"
	switch {
	case report.OK && report.Operation == "":
		result = "can be reached"
	case report.OK:
		result = "accepted the test record of operation_id " + report.Operation
	}
	fmt.Fprintf(to, "drain %s: %s\n", shown(report.Drain), shown(result))
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  STEP\tRESULT\tMS\tWHAT")
	peer := ""
	for _, s := range report.Steps {
		lines := stepLines(&s)
		if s.Peer != "" && s.Peer != peer {
			peer = s.Peer
			fmt.Fprintf(w, "  %s\t\t\t\n", peer)
		}
		took := ""
		if s.Milliseconds > 0 {
			took = fmt.Sprintf("%.1f", s.Milliseconds)
		}
		fmt.Fprintf(w, "  %s\t%s %s\t%s\t%s\n", s.Name, marks[s.Result], s.Result, took, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(w, "\t\t\t%s\n", line)
		}
	}
	w.Flush() // writing to a bytes.Buffer does not fail
	for _, note := range report.Notes {
		fmt.Fprintf(&table, "  note: %s\n", note)
	}
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(to, shown(strings.TrimRight(line, " \n"))); err != nil {
			return err
		}
	}
	return nil
}

// stepCodes are the codes of the steps of connectivity checks; others have config.CodeOwnStep.
var stepCodes = map[string]config.Code{
	probe.Settings: config.CodeSettings, probe.DNS: config.CodeDNS, probe.TCP: config.CodeTCP, probe.Proxy: config.CodeViaProxy,
	probe.TLS: config.CodeTLS, probe.Authentication: config.CodeAuthentication, probe.Acceptance: config.CodeAcceptance,
}

// stepCode returns the code under which the documentation explains a step that failed.
func stepCode(step string) config.Code {
	if code, known := stepCodes[step]; known {
		return code
	}
	return config.CodeOwnStep
}

// stepLines returns the details of a step: at least one line.
func stepLines(s *probe.Step) []string {
	var lines []string
	lines = append(lines, s.Facts...)
	for _, c := range s.Certificates {
		lines = append(lines, "certificate: "+certificateLine(c))
	}
	for _, c := range s.ClientCertificates {
		lines = append(lines, "client certificate: "+certificateLine(c))
	}
	if s.Problem != "" {
		lines = append(lines, fmt.Sprintf("problem: %s [%s]", s.Problem, stepCode(s.Name)))
	}
	if s.Do != "" {
		lines = append(lines, "do: "+s.Do)
	}
	if len(lines) == 0 {
		lines = append(lines, "")
	}
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "\t", " ") // a tab would end the column
	}
	return lines
}

func certificateLine(c probe.Certificate) string {
	return fmt.Sprintf("%s, signed by %s, %s to %s, %s", c.Subject, c.Issuer,
		c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), c.Validity())
}
