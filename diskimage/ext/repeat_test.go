// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// repeatVariable is set when a test runs again in another environment, to the directory that it
// uses.
const repeatVariable = "EXT_TEST_REPEAT"

// The environment must not influence the image: time zone, umask, number of processors, and the
// order in which a directory lists its files.
func TestSameFilesSameBytesEverywhere(t *testing.T) {
	if root := os.Getenv(repeatVariable); root != "" {
		image := write(t, 32*diskimage.MiB, filesystem("ext4", "1.47"), diskimage.NewDirTree(root))
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("sum %x\n", sha256.Sum256(data))
		return
	}
	t.Parallel()
	sums := map[string][]string{}
	for _, environment := range []string{"TZ=UTC GOMAXPROCS=1", "TZ=Asia/Tokyo GOMAXPROCS=4"} {
		for _, umask := range []string{"022", "077"} {
			for _, backwards := range []bool{false, true} {
				what := fmt.Sprintf("%s umask %s backwards %v", environment, umask, backwards)
				script := fmt.Sprintf("umask %s; exec env %s %s=%s %s -test.run='^%s$'", umask, environment,
					repeatVariable, repeatTree(t, backwards), os.Args[0], t.Name())
				out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				sum, _, _ := strings.Cut(string(out), "\n")
				sums[sum] = append(sums[sum], what)
			}
		}
	}
	if len(sums) != 1 {
		t.Errorf("images differ: %q", sums)
	}
}

// repeatTree creates the same files each time, in one of two orders.
func repeatTree(t *testing.T, backwards bool) string {
	t.Helper()
	root := t.TempDir()
	var files []string
	for i := range 300 {
		files = append(files, filepath.Join(root, fmt.Sprintf("%c", 'a'+i%7), fmt.Sprintf("file%d", i)))
	}
	if backwards {
		slices.Reverse(files)
	}
	all := map[string]bool{root: true}
	for _, name := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(filepath.Base(name)), 0o644); err != nil {
			t.Fatal(err)
		}
		all[name], all[filepath.Dir(name)] = true, true
	}
	if err := os.Link(filepath.Join(root, "a/file0"), filepath.Join(root, "b/link")); err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
		ts := []unix.Timespec{unix.NsecToTimespec(fstest.Time.UnixNano()), unix.NsecToTimespec(fstest.Time.UnixNano())}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, 0); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
