package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

func newAuditCommand() *cobra.Command {
	f := new(copyFlags)
	c := &cobra.Command{
		Use:   "audit",
		Short: "Tell which sessions a drain's copy has",
		Long:  "Tells which sessions a copy has.\n\n" + fromHelp,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			progress, done := showProgress("reading")
			defer done()
			source, err := f.open(progress)
			if err != nil {
				return err
			}
			_, err = replay.Sessions(c.Context(), source, f.selection, func(s *replay.Session) error {
				_, err := fmt.Printf("%s %d\n", s.Operation.ID, len(s.Records))
				return err
			})
			return err
		},
	}
	f.flags(c)
	c.Flags().StringVar(&f.selection.Operation, "operation", "", "only the session with this `ID`")
	return c
}
