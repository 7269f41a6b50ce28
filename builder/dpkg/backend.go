// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
)

// Backend is the base name under which this program is dpkg-deb(1). Debootstrap extracts the first packages with it.
const Backend = "dpkg-deb"

// BackendPath is where debootstrap finds dpkg-deb, RealBackend where RunBackend finds the real one.
const (
	BackendPath = "/usr/bin/" + Backend
	RealBackend = "/run/vmdebootstrap-dpkg/" + Backend
)

// RunBackend does what dpkg-deb does. It answers --fsys-tarfile for packages of PackagesDir, and has the real dpkg-deb
// take its place for everything else. It returns an exit status.
func RunBackend(p Process) int {
	const query = "--fsys-tarfile"
	if len(p.Args) == 2 && p.Args[0] == query {
		p.openPackages()
		done, err := p.copyData(p.Args[1])
		if err != nil {
			fmt.Fprintf(p.Stderr, "%s: error: %v\n", Backend, err)
			return statusFailed
		}
		if done {
			return 0
		}
	}
	err := unix.Exec(RealBackend, append([]string{Backend}, p.Args...), p.Environ)
	fmt.Fprintf(p.Stderr, "%s: run %s: %v\n", Backend, RealBackend, err)
	return statusNotFound
}

// copyData writes data.tar of a package to the standard output, if PackagesDir has it.
func (p Process) copyData(file string) (done bool, err error) {
	f, err := newReader(1, p.packages).open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if f.Name() == file {
		return false, nil
	}
	plain, err := debfile.OpenData(f)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", file, err)
	}
	_, err = io.Copy(p.Stdout, plain)
	return true, errors.Join(err, plain.Close())
}
