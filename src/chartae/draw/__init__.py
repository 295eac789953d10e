"""Pictures, plots and structural formulas of molecules, as arrays and files."""
