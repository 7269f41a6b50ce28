// SPDX-License-Identifier: Apache-2.0

package step

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Access is what programs in the target need to install packages of the mirror, and the image must not keep. The zero
// Access is that of a mirror that needs nothing.
type Access struct {
	dir string // of the host, with aptConf
}

// AccessOptions are the properties of a mirror that Access depends on.
type AccessOptions struct {
	// Unauthenticated has apt install packages that nobody has signed.
	Unauthenticated bool
	// AllowExpired has apt accept Release files past their Valid-Until.
	AllowExpired bool
}

// accessDir is where the files of Access are while a program runs. Nothing below /run is in the image.
const accessDir = "/run/vmdebootstrap"

// aptConf is the name of apt's configuration in accessDir, see apt.conf(5).
const aptConf = "apt.conf"

// NewAccess writes the files of Access to a new directory dir of the host.
func NewAccess(dir string, o AccessOptions) (Access, error) {
	var conf strings.Builder
	set := func(name, value string) { fmt.Fprintf(&conf, "%s %q;\n", name, value) }
	if o.Unauthenticated {
		set("APT::Get::AllowUnauthenticated", "true")
		set("Acquire::AllowInsecureRepositories", "true") // since apt 1.1, for update
	}
	if o.AllowExpired {
		set("Acquire::Check-Valid-Until", "false")
	}
	if conf.Len() == 0 {
		return Access{}, nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return Access{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, aptConf), []byte(conf.String()), 0o644); err != nil {
		return Access{}, err
	}
	return Access{dir}, nil
}

// Environ returns the variables of a program that installs packages.
func (a Access) Environ() []string {
	if a.dir == "" {
		return nil
	}
	return []string{"APT_CONFIG=" + accessDir + "/" + aptConf}
}

// Mounts returns the mounts of a program that installs packages in the target, whose root directory is at root.
func (a Access) Mounts(root string) []specs.Mount {
	if a.dir == "" {
		return nil
	}
	return []specs.Mount{target.Bind(a.dir, root+accessDir, "ro")}
}

// installCommand returns a process for a program that may install packages in the target, and its mounts. The target's
// root directory is at root: "" for a program of the target.
func (s *Context) installCommand(root string, args ...string) (*specs.Process, []specs.Mount) {
	p := s.Command(args...)
	p.Env = append(p.Env, s.Access.Environ()...)
	return p, append([]specs.Mount{target.Bind(s.Archives, root+archivesDir)}, s.Access.Mounts(root)...)
}
