package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// outputMode is that of every file that a build makes; the umask does not matter, as it never did.
const outputMode = 0o644

// WriteTarball writes the finished root file system to a tar archive, compressed as its name says. What is in
// directories that are mounted over at boot is left out, the directories are not.
func (r *Result) WriteTarball(ctx context.Context, name string) error {
	r.x.Say("write " + name)
	tree := withoutContents(diskimage.NewDirTree(r.Rootfs.Root()), mountPoints)
	return diskimage.WriteFile(ctx, name, outputMode, func(f *os.File) (err error) {
		w, err := tarfile.Compress(f, name, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		return tarfile.Write(ctx, w, tree)
	})
}

// packageList is the file that --pkglist makes, in the working directory.
const packageList = "dpkg.list"

// WritePackageList writes the names of all packages of the image, sorted, a line each.
func (r *Result) WritePackageList(ctx context.Context) error {
	var out bytes.Buffer
	p := r.site.command("dpkg-query", "--show", "--showformat", "${Package}\n")
	if err := r.Rootfs.Run(ctx, p, nil, strings.NewReader(""), &out); err != nil {
		return fmt.Errorf("list packages: %w", err)
	}
	names := sortedSet(strings.Split(out.String(), "\n"))
	name := filepath.Join(r.x.Dir, packageList)
	r.x.Say("write " + name)
	return diskimage.WriteFile(ctx, name, outputMode, func(f *os.File) error {
		_, err := f.WriteString(strings.Join(slices.Concat(names, []string{""}), "\n"))
		return err
	})
}
