// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// describeExecError returns what execve(2) means by an error about a program that exists: the kernel reports a missing
// interpreter as a missing program. root is the program's root directory, or empty for that of this process.
func describeExecError(root, program string, err error) error {
	f, openErr := openInRoot(root, program)
	if openErr != nil {
		return err
	}
	defer f.Close()
	interpreter := interpreterOf(f)
	switch {
	case errors.Is(err, unix.EAGAIN):
		// execve(2) of a user who has more processes than allowed, fork(2) with the limit of the cgroup too.
		return fmt.Errorf("start %s: the limit of processes (ulimit -u, or pids.max of the cgroup) is reached: %w", program,
			err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("start %s: the limit of memory (ulimit -v, or that of the cgroup) is reached: %w", program, err)
	case errors.Is(err, unix.ENOENT) && interpreter != "":
		return fmt.Errorf("%s needs %q, which does not exist here: %w", program, interpreter, err)
	case errors.Is(err, unix.ENOEXEC) && interpreter == "":
		return fmt.Errorf("%s is neither a program for this machine nor a script with #! in its first line: %w", program,
			err)
	case errors.Is(err, unix.EACCES):
		var st unix.Statfs_t
		if unix.Fstatfs(int(f.Fd()), &st) == nil && st.Flags&unix.ST_NOEXEC != 0 {
			return fmt.Errorf("%s is on a file system that is mounted with the option noexec: %w", program, err)
		}
	}
	return fmt.Errorf("start %s: %w", program, err)
}

// interpreterOf returns the program that the kernel loads to run the file: the one in the first line of a script, or
// the dynamic linker; "" for none.
func interpreterOf(f *os.File) string {
	head := make([]byte, 256) // BINPRM_BUF_SIZE of Linux
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	if line, script := bytes.CutPrefix(head[:n], []byte("#!")); script {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		name, _, _ := strings.Cut(strings.Trim(string(line), " \t"), " ")
		return name
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			name, err := io.ReadAll(io.LimitReader(segment.Open(), unix.PathMax))
			if err != nil {
				return ""
			}
			return strings.TrimRight(string(name), "\x00")
		}
	}
	return ""
}
