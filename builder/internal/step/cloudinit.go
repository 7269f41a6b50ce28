// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// CloudInit configures cloud-init: where it looks for its configuration, and the configuration itself.
type CloudInit struct {
	base
	// Datasources are names of datasources of cloud-init, in the order in which it asks them.
	Datasources []string
	// Seed are the files of the datasource NoCloud.
	Seed []SeedFile
}

// SeedFile is a file of the datasource NoCloud.
type SeedFile struct {
	// Name is "user-data", "meta-data" or "network-config".
	Name string
	// Text is its content; if empty, it is that of File, a copy of the user's file with the digest Digest.
	Text   string `json:",omitempty"`
	File   string `json:"-"`
	Digest string `json:",omitempty"`
	// Schema is the schema that cloud-init of the image checks it by, "" for none.
	Schema string `json:",omitempty"`
}

// seedDir is where cloud-init looks for the files of the datasource NoCloud.
const seedDir = "/var/lib/cloud/seed/nocloud/"

func (CloudInit) Kind() string { return "cloud-init" }

func (CloudInit) Title() string { return "configure cloud-init" }

func (c CloudInit) Run(ctx context.Context, s *Context) error {
	text := "# Where cloud-init looks for its configuration; written by vmdebootstrap.\ndatasource_list: [ " +
		strings.Join(c.Datasources, ", ") + " ]\n"
	// Debian's own list, from debconf, is in 90_dpkg.cfg: the last file counts.
	if err := target.WriteFileIn(s.Target, "/etc/cloud/cloud.cfg.d/95-datasources.cfg", text, 0o644); err != nil {
		return err
	}
	for _, f := range c.Seed {
		data := []byte(f.Text)
		if f.Text == "" {
			var err error
			if data, err = os.ReadFile(f.File); err != nil {
				return err
			}
		}
		if err := target.WriteFileIn(s.Target, seedDir+f.Name, string(data), 0o600); err != nil {
			return err
		}
		if f.Schema == "" || f.Schema == "cloud-config" && !bytes.HasPrefix(data, []byte("#cloud-config")) {
			continue
		}
		args := []string{"cloud-init", "schema", "--config-file", seedDir + f.Name}
		if f.Schema != "cloud-config" {
			args = append(args, "--schema-type", f.Schema)
		}
		if err := s.inTarget(ctx, args...); err != nil {
			return fmt.Errorf("check %s by its schema: %w", f.Name, err)
		}
	}
	return nil
}
