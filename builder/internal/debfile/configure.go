// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Configure adds what programs need and maintainer scripts would have made, in a tree that Unpack has written: the user
// database, awk and which, certificate authorities in one file, /tmp, and a dpkg database without packages. It leaves
// out what no package has files for.
func Configure(root string) (err error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, step := range []func(*os.Root) error{makeDirectories, copyMasters, makeAlternatives, bundleCertificates} {
		if err := step(r); err != nil {
			return fmt.Errorf("configure %s: %w", root, err)
		}
	}
	return nil
}

// copyMasters copies files that packages have under another name and whose postinst would copy them.
func copyMasters(r *os.Root) error {
	for _, f := range []struct{ from, to string }{
		{"usr/share/base-passwd/passwd.master", "etc/passwd"},
		{"usr/share/base-passwd/group.master", "etc/group"},
		{"usr/share/base-files/nsswitch.conf", "etc/nsswitch.conf"},
	} {
		data, err := r.ReadFile(f.from)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = writeFile(r, f.to, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeAlternatives makes the links of update-alternatives that scripts depend on, directly to the program.
func makeAlternatives(r *os.Root) error {
	for _, a := range []struct {
		name     string
		programs []string // the first one present
	}{
		{"usr/bin/awk", []string{"mawk", "gawk", "original-awk"}},
		{"usr/bin/which", []string{"which.debianutils", "which.gnu"}},
	} {
		i := slices.IndexFunc(a.programs, func(program string) bool {
			_, err := r.Stat("usr/bin/" + program)
			return err == nil
		})
		if i < 0 {
			continue
		}
		if err := r.Symlink(a.programs[i], a.name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// bundleCertificates does the part of update-ca-certificates that OpenSSL and GnuTLS need for https.
func bundleCertificates(r *os.Root) error {
	const from, to = "usr/share/ca-certificates/mozilla", "etc/ssl/certs/ca-certificates.crt"
	entries, err := fs.ReadDir(r.FS(), from) // by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var bundle bytes.Buffer
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".crt") {
			continue
		}
		data, err := r.ReadFile(from + "/" + e.Name())
		if err != nil {
			return err
		}
		bundle.Write(bytes.TrimRight(data, "\n"))
		bundle.WriteByte('\n')
	}
	if err := r.MkdirAll("etc/ssl/certs", 0o755); err != nil {
		return err
	}
	return writeFile(r, to, bundle.Bytes())
}

// makeDirectories makes directories of every system, and an empty dpkg database.
func makeDirectories(r *os.Root) error {
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := r.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := r.Chmod(dir, fs.ModeSticky|fs.ModePerm); err != nil {
			return err
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "etc", "var/lib/dpkg/info",
		"var/lib/dpkg/updates"} {
		if err := r.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"var/lib/dpkg/status", "var/lib/dpkg/available"} {
		if _, err := r.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := writeFile(r, name, nil); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file with a mode that does not depend on the umask.
func writeFile(r *os.Root, name string, data []byte) error {
	const mode = 0o644
	if err := r.WriteFile(name, data, mode); err != nil {
		return err
	}
	return r.Chmod(name, mode)
}
