package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/clusterkeys"
)

func newKeysMakeCommand() *cobra.Command {
	o := clusterkeys.Options{Made: func(path string) { fmt.Println("made", path) }}
	var owner string
	c := &cobra.Command{
		Use:   "make DIR",
		Short: "Make the keys and certificates of a cluster",
		Long: "Makes the keys and certificates by which the parts of ttydrain on a NATS cluster trust each other, in the folder DIR. Files\n" +
			"that exist stay as they are.\n\n" +
			"  ca.pem, ca.key            an authority, valid for ten years; only this command needs its key\n" +
			"  NAME.pem, NAME.key        a certificate, valid for a year, of each role (gateway, enrich, router, admin) and of each --server;\n" +
			"                            those of roles are for NATS, and for admin.tls of a host with the role's name\n" +
			"  ROLE.nk                   the seed of the role's NKey on NATS\n" +
			"  users.conf                the public keys of these, for NATS servers\n" +
			"  host_key                  the gateway's\n" +
			"  document_key.pem          the key that signs user documents and sessions (EdDSA)\n" +
			"  gap_key.pem               the key by which routers sign gap records, with a delegation by document_key.pem\n" +
			"  admin_token               the token of operators' commands\n\n" +
			"For another certificate remove its two files, and run this again.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Dir = args[0]
			if owner != "" {
				parsed, ok := parseOwner(owner)
				if !ok {
					return usageError{fmt.Errorf("--owner %q is not understood: expected UID:GID, such as 65532:65532", owner)}
				}
				o.Owner = &parsed
			}
			for _, name := range o.Servers {
				if err := clusterkeys.CheckServer(name); err != nil {
					return usageError{fmt.Errorf("--server %q is not understood: %w", name, err)}
				}
			}
			return clusterkeys.Make(o)
		},
	}
	c.Flags().StringSliceVar(&o.Servers, "server", nil, "the host `NAME` of a server (NATS, syslog) that gets a certificate; repeatable")
	c.Flags().StringVar(&owner, "owner", "", "the `UID:GID` that owns all files but ca.key; needs root")
	return c
}

func parseOwner(text string) (o clusterkeys.Owner, ok bool) {
	user, group, _ := strings.Cut(text, ":")
	uid, userErr := strconv.ParseUint(user, 10, 31)
	gid, groupErr := strconv.ParseUint(group, 10, 31)
	return clusterkeys.Owner{UID: int(uid), GID: int(gid)}, userErr == nil && groupErr == nil
}
