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

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

func newDrainTestCommand(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:   "test NAME",
		Short: "Write a record that says that it is a test, and tell each step on the way",
		Long: "Asks a running ttydrain to write a record to the drain, on the way that session logs go, and tells each\n" +
			"step: DNS, TCP, a proxy, TLS with the certificates' dates, authentication, acceptance. Where one fails it\n" +
			"says what to do, and exits with 1. The record's operation_id begins with test-, as no session's does.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			report := new(drain.Report)
			body := map[string]string{"asked_by": whoAsks()}
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

// whoAsks is the person at this machine, as far as it tells.
func whoAsks() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += " at " + host
	}
	return name
}

// marks stand before the words of a step's result, for the eye.
var marks = map[string]string{probe.ResultOK: "✓", probe.ResultWarning: "!", probe.ResultFailed: "✗", probe.ResultNotTried: "-"}

// printReport prints a test of a drain as a table: a step a row, and below it what is known of it.
func printReport(to io.Writer, report *drain.Report) error {
	result := "FAILED"
	switch {
	case report.OK && report.Operation == "":
		result = "can be reached"
	case report.OK:
		result = "has taken the test record of operation_id " + report.Operation
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
	w.Flush() // a bytes.Buffer takes everything
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

// stepLines are what is to be read of a step: one line at least.
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
		lines = append(lines, "problem: "+s.Problem)
	}
	if s.Do != "" {
		lines = append(lines, "do: "+s.Do)
	}
	if len(lines) == 0 {
		lines = append(lines, "")
	}
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "\t", " ") // a column's end
	}
	return lines
}

func certificateLine(c probe.Certificate) string {
	return fmt.Sprintf("%s, signed by %s, %s to %s, %d days left", c.Subject, c.Issuer,
		c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), c.DaysLeft)
}
