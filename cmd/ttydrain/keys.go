package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

func newKeysCommand() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "List or rotate the keys that sign user documents and the ends of sessions; make the keys of a cluster", Args: cobra.NoArgs}
	var path, output string
	c.PersistentFlags().StringVarP(&path, "config", "c", "ttydrain.yaml", "the configuration, a YAML `FILE`")
	outputFlag(c, &output)
	run := func(do func(u config.UserDocument) (*enrich.KeyRing, error)) error {
		if err := checkOutput(output); err != nil {
			return err
		}
		cfg, err := loadConfig(path)
		if err != nil {
			return err
		}
		ring, err := do(cfg.UserDocument)
		if err != nil {
			return err
		}
		return printKeys(ring, cfg.UserDocument.KeepRetired, output)
	}
	c.AddCommand(&cobra.Command{
		Use: "list -c FILE", Short: "List the active key and the retired ones", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return run(readKeys) },
	}, &cobra.Command{
		Use: "rotate -c FILE", Short: "Replace the signing key by a new one", Args: cobra.NoArgs,
		Long: "Replaces the signing key by a new one. The public half of the old key is kept next to it and stays published, so that its\n" +
			"signatures can be verified; its private half is deleted. A running serve signs with the new key within seconds.\n" +
			"If several processes have copies of the key, rotate one and copy both files.",
		RunE: func(*cobra.Command, []string) error {
			return run(func(u config.UserDocument) (*enrich.KeyRing, error) {
				return enrich.RotateKey(u.SigningKey, u.Algorithm, u.KeepRetired, time.Now())
			})
		},
	}, newKeysMakeCommand())
	return c
}

// readKeys reads the signing key and the retired keys.
func readKeys(u config.UserDocument) (*enrich.KeyRing, error) {
	return enrich.LoadKeyRing(u.SigningKey, u.Algorithm, false)
}

// A listedKey is a key in the output of the commands.
type listedKey struct {
	ID        string     `json:"id"`
	Algorithm string     `json:"algorithm"`
	State     string     `json:"state"` // active, retired, or expired, which is retired and no longer published
	Retired   *time.Time `json:"retired,omitempty"`
}

func printKeys(ring *enrich.KeyRing, keep time.Duration, output string) error {
	keys := []listedKey{{ID: ring.Active.ID(), Algorithm: ring.Active.Algorithm(), State: "active"}}
	for _, r := range ring.Retired {
		k := listedKey{ID: r.Key.KeyID, Algorithm: r.Key.Algorithm, State: "retired", Retired: &r.Retired}
		if keep != 0 && time.Since(r.Retired) >= keep {
			k.State = "expired"
		}
		keys = append(keys, k)
	}
	if output == outputJSON {
		return printJSON(keys)
	}
	w := newTable()
	fmt.Fprintln(w, "KEY\tALGORITHM\tSTATE\tRETIRED")
	for _, k := range keys {
		retired := "-"
		if k.Retired != nil {
			retired = timeflag.Format(*k.Retired)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Algorithm, k.State, retired)
	}
	return w.Flush()
}
