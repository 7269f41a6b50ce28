// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/verity"
)

// slots returns the name and the version of an image with two slots; nil if there is one.
func (o Options) slots() *boot.Slots {
	if o.AB == "" {
		return nil
	}
	return &boot.Slots{Name: strings.ToLower(o.Hostname), Version: o.ImageVersion}
}

// slotB are the partitions of the slot that the first update is written to: as large as those of the slot with the
// image.
func slotB(number int, treeSize diskimage.Size) []diskimage.PartitionRequest {
	slot := []diskimage.PartitionRequest{{Role: diskimage.RoleRootB, Number: number, ReadOnly: true, Label: boot.EmptySlot,
		Size: diskimage.MiB}}
	if treeSize > 0 {
		slot = append(slot, diskimage.PartitionRequest{Role: diskimage.RoleRootVerityB, Number: number + 1, ReadOnly: true,
			Label: boot.EmptySlot, Size: treeSize})
	}
	return slot
}

// halve divides the space for root file systems in halves.
func halve(r diskimage.Request) (diskimage.Request, error) {
	layout, err := diskimage.NewLayout(r)
	if err != nil {
		return r, err
	}
	r.Partitions = slices.Clone(r.Partitions)
	first, _ := layout.Partition(diskimage.RoleRoot)
	for i, p := range r.Partitions {
		if p.Role == diskimage.RoleRootB {
			r.Partitions[i].Size = (first.Size + p.Size) / 2 / diskimage.MiB * diskimage.MiB
		}
	}
	return r, nil
}

// sysupdateStep is what systemd-sysupdate has to know of the disk.
func (d Disk) sysupdateStep(o Options, lock Lock) step.Sysupdate {
	u := step.Sysupdate{Name: d.Slots.Name, Version: d.Slots.Version, Source: o.AB, Root: d.Root().Type.String()}
	if tree, ok := d.Layout.Partition(diskimage.RoleRootVerity); ok {
		u.Verity = tree.Type.String()
	}
	if o.ABKey != "" {
		u.Key, u.Digest = lock.Copy(o.ABKey), lock.inputDigest(o.ABKey)
	}
	return u
}

// abPackages contain systemd-sysupdate, and the libraries that it loads when it needs them, on which systemd-container
// of forky does not depend.
func (s Spec) abPackages() []string {
	if s.o.AB == "" {
		return nil
	}
	packages := []string{"systemd-container", "libblkid1", "libfdisk1", "libssl3t64"}
	if strings.HasPrefix(s.o.AB, "/") {
		return packages
	}
	packages = append(packages, "ca-certificates", "libcurl4t64")
	if s.o.ABKey != "" {
		packages = append(packages, "gpg")
	}
	return packages
}

// imageVersion is what os-release(5) allows for IMAGE_VERSION, but for the underscore, which separates the parts of
// names of artifacts.
var imageVersion = regexp.MustCompile(`^[0-9a-z][0-9a-z.-]*$`)

// longestLabel is the length of the name of a partition in a GPT.
const longestLabel = 36

// abPossible: the image can be updated as a whole, and has a version to be known by.
func abPossible(s Spec) []error {
	const flag = "--ab"
	if s.o.AB == "" {
		var problems []error
		for _, option := range []struct{ flag, value string }{
			{"--image-version", s.o.ImageVersion}, {"--ab-key", s.o.ABKey}, {"--ab-artifacts", s.o.ABArtifacts},
		} {
			if option.value != "" {
				problems = append(problems, problem.New(option.flag, "needs --ab as well")...)
			}
		}
		return problems
	}
	if s.o.Image == "" {
		return problem.New(flag, "needs --image as well")
	}
	var problems []error
	add := func(flag, format string, args ...any) {
		problems = append(problems, problem.New(flag, format, args...)...)
	}
	if _, ok := s.loader.(boot.SystemdBoot); !ok {
		add(flag, "%s does not go back to the version before if an update does not start: use --boot=%s with --part-type=gpt",
			s.loader, boot.WordSystemdBoot)
	}
	if !filesystem.Lookup(s.o.Roottype).ReadOnly {
		add(flag, "an update would take the place of what the machine has written to a root file system of type %s: use "+
			"--roottype=erofs or --roottype=squashfs", s.o.Roottype)
	}
	if s.o.LUKS {
		add(flag, "is not possible with --luks: the root file system of an update is not encrypted: drop one of them")
	}
	if s.KernelPackage() == "" {
		add(flag, "each version has a kernel of its own: drop --no-kernel")
	}
	if err := checkUpdateSource(s.o.AB); err != nil {
		add(flag, "%w", err)
	}
	label := boot.Slots{Name: s.o.Hostname, Version: s.o.ImageVersion}.Label() + verityLabel
	switch {
	case s.o.ImageVersion == "":
		add("--image-version", "is needed by --ab: give each build a higher one")
	case !imageVersion.MatchString(s.o.ImageVersion):
		add("--image-version", "%q is not a version: want small letters, digits, dots and dashes", s.o.ImageVersion)
	case len(label) > longestLabel:
		add("--image-version", "the label %s has %d characters, a partition table holds %d: choose a shorter version or a "+
			"shorter --hostname", label, len(label), longestLabel)
	}
	return slices.Concat(problems, abKeyKnown(s), artifactsNew(s))
}

// checkUpdateSource checks where the machine gets updates from.
func checkUpdateSource(source string) error {
	if strings.ContainsFunc(source, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%q has a space or a control character", source)
	}
	if path.IsAbs(source) {
		return nil
	}
	u, err := url.Parse(source)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("it is neither a URL with http or https nor an absolute directory: where does the machine get " +
			"its updates from?")
	case u.User != nil:
		return errors.New("all users of the image would see the password in the URL: leave it out")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("names of files are appended to the URL: leave out what follows ? or #")
	}
	return nil
}

// abKeyKnown: there are keys in the file, and something that is verified by them.
func abKeyKnown(s Spec) []error {
	const flag = "--ab-key"
	if s.o.ABKey == "" {
		return nil
	}
	if path.IsAbs(s.o.AB) {
		return problem.New(flag, "systemd-sysupdate verifies only what it gets from a URL: drop it, or give --ab a URL")
	}
	if s.w.ReadFile == nil {
		if _, err := s.w.Stat(s.o.ABKey); err != nil {
			return problem.New(flag, "%w", err)
		}
		return nil
	}
	text, err := s.w.ReadFile(s.o.ABKey)
	if err == nil && bytes.Contains(text, []byte("PRIVATE KEY BLOCK-----")) {
		err = errors.New("it is a private key; gpg --export writes the public one")
	}
	if err == nil {
		_, err = archive.ReadKeyring(bytes.NewReader(text))
	}
	if err != nil {
		return problem.New(flag, "%s: %w", s.o.ABKey, err)
	}
	return nil
}

// artifactsNew: the directory can be written to, and does not have the version yet. Machines that have a version do not
// get it again.
func artifactsNew(s Spec) []error {
	const flag = "--ab-artifacts"
	dir := s.o.ABArtifacts
	if dir == "" {
		return nil
	}
	info, err := s.w.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.outputDirectory(dir); err != nil {
			return problem.New(flag, "%w", err)
		}
		return nil
	case err != nil:
		return problem.New(flag, "%w", err)
	case !info.IsDir():
		return problem.New(flag, "%q is not a directory", dir)
	}
	kernel := filepath.Join(dir, s.o.slots().Label()+".efi")
	if _, err := s.w.Stat(kernel); err == nil {
		return problem.New(flag, "%s is there already: give --image-version a higher version", kernel)
	}
	if err := s.outputDirectory(kernel); err != nil {
		return problem.New(flag, "%w", err)
	}
	return nil
}

// ArtifactDirs are the directories for the files of an update, which may have those of other versions as well.
func (s Spec) ArtifactDirs() []string {
	if s.o.ABArtifacts == "" {
		return nil
	}
	return []string{s.o.ABArtifacts}
}

// verityLabel is the end of the label of a partition with a hash tree.
const verityLabel = "_verity"

// digestsName is the file that lists the artifacts of all versions in a directory, in the format of sha256sum(1). It is
// all that systemd-sysupdate reads of a server's directory.
const digestsName = "SHA256SUMS"

// artifact is a file of an update.
type artifact struct {
	name  string
	write func(ctx context.Context, f *os.File) error
}

// artifacts returns the files of an update to the image. root is its file system, tree the hash tree if there is one,
// and esp what is on the EFI system partition.
func (d Disk) artifacts(root *os.File, tree *verity.Tree, esp []diskimage.Entry) ([]artifact, error) {
	label := d.Slots.Label()
	rootName, treeName := label+".root", ""
	if tree != nil {
		rootID, treeID := tree.PartitionIDs()
		rootName = label + "_" + rootID.String() + ".root"
		treeName = label + "_" + treeID.String() + ".verity"
	}
	all := []artifact{{rootName, func(ctx context.Context, f *os.File) error {
		info, err := root.Stat()
		if err == nil {
			err = f.Truncate(int64(wholeBlocks(info.Size())))
		}
		if err != nil {
			return err
		}
		return diskimage.CopyFile(ctx, f, root)
	}}}
	if tree != nil {
		all = append(all, artifact{treeName, func(ctx context.Context, f *os.File) error { return tree.Write(ctx, f) }})
	}
	kernel := boot.KernelImageDir + "/" + label + ".efi"
	i := slices.IndexFunc(esp, func(e diskimage.Entry) bool { return e.Name == kernel })
	if i < 0 {
		return nil, fmt.Errorf("BUG: no %s on the EFI system partition", kernel)
	}
	return append(all, artifact{label + ".efi", func(_ context.Context, f *os.File) (err error) {
		c, err := esp[i].Open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		_, err = io.Copy(f, io.NewSectionReader(c, 0, esp[i].Size))
		return err
	}}), nil
}

// wholeBlocks returns the length of a file system in whole blocks of a hash tree.
func wholeBlocks(size int64) diskimage.Size {
	return diskimage.Size((size + verity.BlockSize - 1) / verity.BlockSize * verity.BlockSize)
}

// writeArtifacts writes the files of an update to a directory, and adds them to its SHA256SUMS. They get their names
// together, the list last. It returns the names of all but the list.
func (a assembler) writeArtifacts(ctx context.Context, dir string, all []artifact) (names []string, err error) {
	a.report.Message("write the artifacts of the update to " + dir)
	if err := os.MkdirAll(dir, outputDirMode); err != nil {
		return nil, fmt.Errorf("--ab-artifacts: %w", err)
	}
	list := filepath.Join(dir, digestsName)
	digests, err := readDigests(list)
	if err != nil {
		return nil, err
	}
	for _, file := range all {
		names = append(names, filepath.Join(dir, file.name))
	}
	return names, diskimage.WriteFiles(ctx, append(slices.Clip(names), list), outputMode, func(files []*os.File) error {
		for i, file := range all {
			if err := file.write(ctx, files[i]); err != nil {
				return fmt.Errorf("write %s: %w", names[i], err)
			}
			if _, err := files[i].Seek(0, io.SeekStart); err != nil {
				return fmt.Errorf("read %s: %w", names[i], err)
			}
			h := sha256.New()
			if _, err := io.Copy(h, snapshot.UntilDone(ctx, files[i])); err != nil {
				return fmt.Errorf("digest of %s: %w", names[i], err)
			}
			digests[file.name] = hex.EncodeToString(h.Sum(nil))
		}
		var text strings.Builder
		for _, name := range sortedSet(slices.Collect(maps.Keys(digests))) {
			fmt.Fprintf(&text, "%s  %s\n", digests[name], name)
		}
		_, err := files[len(all)].WriteString(text.String())
		return err
	})
}

// digestLine is a line of sha256sum(1), of a text or a binary file.
var digestLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *]([^/\\]+)$`)

// readDigests reads the digests in a list, by the names of the files; none if there is no list.
func readDigests(name string) (map[string]string, error) {
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--ab-artifacts: %w", err)
	}
	digests := map[string]string{}
	for line := range strings.Lines(string(text)) {
		m := digestLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			return nil, fmt.Errorf("--ab-artifacts: %s has a line that is not of sha256sum: %q", name, line)
		}
		digests[m[2]] = m[1]
	}
	return digests, nil
}
