package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/buildinfo"
	"github.com/ttydrain/ttydrain/schema"
)

// notice has the licences of all that the program contains. The tests of packaging generate it.
//
//go:embed NOTICE
var notice []byte

// versionReport is the output of `version --output json`.
type versionReport struct {
	buildinfo.Info
	Formats schema.Formats `json:"formats"`
}

func newVersionCommand() *cobra.Command {
	var output string
	var licenses bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of its parts",
		Long: "Prints the version of this program, the commit that it was built from and the commit's date, the versions of Go and of the\n" +
			"embedded NATS server, and those of the formats that it writes: of records, and of messages on the streams. It reads all\n" +
			"earlier versions of the formats. With --licenses it prints the licences of the program and of all software in it instead.",
		Example: "  ttydrain version\n  ttydrain version --output json | jq -r .version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			if licenses {
				_, err := os.Stdout.Write(notice)
				return err
			}
			r := versionReport{buildinfo.Read(), schema.CurrentFormats()}
			if output == outputJSON {
				return printJSON(r)
			}
			return r.print()
		},
	}
	outputFlag(c, &output)
	c.Flags().BoolVar(&licenses, "licenses", false, "print the licences of this program and of all that it contains")
	c.MarkFlagsMutuallyExclusive("licenses", "output")
	return c
}

func (r *versionReport) print() error {
	const unknown = "unknown (it was built without the data of version control: -buildvcs=false, or not from a repository)"
	commit := cmp.Or(r.Commit, unknown)
	if r.Modified {
		commit += ", with local changes"
	}
	w := newTable()
	fmt.Fprintf(w, "ttydrain\t%s\n", r.Version)
	fmt.Fprintf(w, "commit\t%s\n", commit)
	fmt.Fprintf(w, "date\t%s\n", cmp.Or(r.Date, unknown))
	fmt.Fprintf(w, "go\t%s, %s\n", r.Go, r.Platform)
	fmt.Fprintf(w, "nats-server\t%s\n", cmp.Or(r.NATS, "unknown"))
	fmt.Fprintf(w, "formats\trecord %s, chunk %d, segment %d\n", r.Formats.Record, r.Formats.Chunk, r.Formats.Segment)
	return w.Flush()
}
