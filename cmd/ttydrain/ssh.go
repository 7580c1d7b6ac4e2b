package main

import "github.com/spf13/cobra"

func newSSHCommand() *cobra.Command { return &cobra.Command{Use: "ssh"} }
