package builder

import "context"

// noLoader is an image that does not start by itself.
type noLoader struct{ commonLoader }

func (noLoader) String() string { return "no boot loader" }

func (noLoader) steps(bootDisk) []Step { return nil }

func (noLoader) configure(bootDisk, *treeFiles) error { return nil }

func (noLoader) prepare(context.Context, bootDisk, bootSource) (bootParts, error) {
	return bootParts{}, nil
}
