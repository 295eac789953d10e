"""Pictures, plots and formulas of molecules, as arrays and files."""
