// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
)

// newVerifyVerb returns the command "vmdebootstrap verify", which verifies the statement of --provenance.
func newVerifyVerb(env environment, stdout, stderr io.Writer) *cobra.Command {
	key := ""
	verb := &cobra.Command{
		Use:   "verify PROVENANCE [--key KEY]",
		Short: "verify a statement of --provenance and the files that it names",
		Long: "Compare the files that a statement of --provenance names, in its own directory, with their digests. With --key,\n" +
			"the statement must be signed by that key; without it, no signature is verified.",
		Example: `
# Are these the files that the owner of the key has built?
vmdebootstrap verify debian.intoto.json --key builder.pub
# Are they complete?
vmdebootstrap verify debian.intoto.json`,
		Args: oneArgument("PROVENANCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifyProvenance(cmd.Context(), env, stdout, stderr, args[0], key)
		},
	}
	verb.Flags().StringVar(&key, "key", "",
		"require a signature by the ed25519 key in `FILE` (OpenSSH or PEM), public or private")
	return verb
}

func verifyProvenance(ctx context.Context, env environment, stdout, stderr io.Writer, name, keyFile string) error {
	var key *builder.CacheKey
	if keyFile != "" {
		var err error
		if key, err = readKey("--key", env.dir, keyFile); err != nil {
			return err
		}
	}
	f, err := os.Open(absolute(env.dir, name))
	if err != nil {
		return &inputError{fmt.Errorf("open the statement: %w", err), "a build with --provenance FILE writes one"}
	}
	defer f.Close()
	files, signed, err := builder.VerifyProvenance(ctx, f, key, filepath.Dir(absolute(env.dir, name)))
	if err != nil {
		var problems []error
		for _, e := range builder.Flatten(err) {
			problems = append(problems, fmt.Errorf("verify %s: %w", name, e))
		}
		return errors.Join(problems...)
	}
	switch {
	case key != nil:
		fmt.Fprintf(stdout, "%s is signed by the key %s\n", name, keyFile)
	case signed:
		fmt.Fprintf(stderr, "WARNING: %s is signed, and the signature is not verified: name the key with --key\n", name)
	default:
		fmt.Fprintf(stderr, "WARNING: %s has no signature: anyone can have written it\n", name)
	}
	for _, file := range files {
		fmt.Fprintf(stdout, "%s has the digest of the statement\n", file)
	}
	return nil
}
