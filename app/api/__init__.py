"""How clients are answered: headers, problems, documents. Knows HTTP; must not know the farm."""
